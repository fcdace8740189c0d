#include "text/normalize.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "text/stream_safe.h"
#include "text/utf8.h"

namespace smolfast::text {
namespace {

// Hangul syllables (Unicode §3.12).
constexpr uint32_t kSyllableBase = 0xAC00, kLeadBase = 0x1100, kVowelBase = 0x1161, kTailBase = 0x11A7;
constexpr uint32_t kLeads = 19, kVowels = 21, kTails = 28, kSyllables = kLeads * kVowels * kTails;

const ScanTables& scan_tables(Form form) {
  switch (form) {
    case Form::kNfc:
      return kScanNFC;
    case Form::kNfkc:
      return kScanNFKC;
    case Form::kNfd:
      return kScanNFD;
    case Form::kNfkd:
      break;
  }
  return kScanNFKD;
}

// The composition of a pair, or 0.
inline uint32_t compose_pair(uint32_t first, const NormRecord& first_record, uint32_t second,
                             const NormRecord& second_record) {
  if (first_record.first != 0 && second_record.second != 0) {
    const uint32_t value = kCompositions[first_record.first * kCompositionWidth + second_record.second];
    return value >= 0xC0 ? value : kSupplementaryCompositions[value];
  }
  if (first - kLeadBase < kLeads && second - kVowelBase < kVowels) {
    return kSyllableBase + ((first - kLeadBase) * kVowels + (second - kVowelBase)) * kTails;
  }
  if (first - kSyllableBase < kSyllables && (first - kSyllableBase) % kTails == 0 &&
      second - kTailBase - 1 < kTails - 1) {
    return first + (second - kTailBase);
  }
  return 0;
}

// Copies a short stretch with whole vectors where the source allows it; the target has Buffer::kSlack.
inline char* copy_short(const char* from, const char* to_end, const char* source_end, char* out) {
  const auto bytes = static_cast<std::size_t>(to_end - from);
  if (bytes <= 32 && source_end - from >= 32) {
    std::memcpy(out, from, 32);
  } else {
    std::memcpy(out, from, bytes);
  }
  return out + bytes;
}

}  // namespace

Normalizer::Normalizer(Form form, bool stream_safe)
    : form_(static_cast<int>(form)),
      stream_safe_(stream_safe),
      compatibility_(form == Form::kNfkc || form == Form::kNfkd),
      composing_(form == Form::kNfc || form == Form::kNfkc),
      tables_(scan_tables(form)),
      kernels_(scan_kernels()) {}

bool Normalizer::run(std::string_view text, Buffer& out) {
  if (!stream_safe_) return normalize<true>(text, &out);
  safe_.clear();
  if (!make_stream_safe(text, safe_)) return normalize<true>(text, &out);
  if (!normalize<true>(safe_.view(), &out)) out.append(safe_.view());
  return true;
}

bool Normalizer::is_normalized(std::string_view text) {
  return !normalize<false>(text, nullptr);
}

template <bool kWrite>
bool Normalizer::normalize(std::string_view text, Buffer* out) {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const char* copied = begin;   // what lies before is in `out`
  const char* segment = begin;  // where the last handled segment ended
  const char* at = begin;
  bool changed = false;
  for (;;) {
    // Stops come in clusters: a few characters one by one before the vectors.
    const NormRecord* record = nullptr;
    for (int i = 0; i < 4 && at < end; ++i) {
      const Decoded c = decode(at);
      if (c.size > 1) {
        record = &norm_record(c.code);
        if (is_stop(*record, form_)) break;
        record = nullptr;
      }
      at += c.size;
    }
    if (record == nullptr) {
      at = kernels_.find_stop(at, end, form_, tables_);
      if (at >= end) break;
      record = &norm_record(decode(at).code);
    }
    if (composing_ && at > segment && !starts_segment(*record)) at = previous(at);
    segment = at;
    if constexpr (kWrite) {
      const auto lead = static_cast<uint8_t>(*at);
      if (composing_ && (lead == 0xE1 || (lead == 0xE3 && !compatibility_))) {
        // Room for all of it at once: composing never lengthens.
        const auto before = static_cast<std::size_t>(at - copied);
        char* to = out->room(before + static_cast<std::size_t>(end - at));
        char* const composed = copy_short(copied, at, end, to);
        to = composed;
        lead == 0xE1 ? compose_jamo(at, end, to) : compose_kana(at, end, to);
        if (to != composed) {
          out->commit(to);
          changed = true;
          copied = segment = at;
          continue;
        }
      }
    }
    const Outcome outcome = composing_ ? compose(at, end) : decompose(at, end);
    at = next_;
    if (outcome != Outcome::kSame) {
      if constexpr (!kWrite) return true;
      changed = true;
      char* to = copy_short(copied, segment, end, out->room(static_cast<std::size_t>(segment - copied) + 64));
      if (outcome == Outcome::kComposed) {
        to = encode(composed_, to);
        copied = kept_;
      } else {
        if (outcome == Outcome::kDecomposed) {
          std::memcpy(to, kept_, 48);
          to += kept_bytes_;
        } else {
          out->commit(to);
          out->append(segment_.view());
          to = out->room(0);
        }
        copied = next_;
      }
      out->commit(to);
    }
    segment = at;
  }
  if constexpr (kWrite) {
    if (changed) out->append(copied, static_cast<std::size_t>(end - copied));
  }
  return changed;
}

Normalizer::Outcome Normalizer::compose(const char* at, const char* end) {
  const Decoded first = decode(at);
  uint32_t starter = first.code;
  const NormRecord* starter_record = &norm_record(starter);
  if (is_attention(*starter_record) || starter_record->combining_class != 0) {
    const char* const after = at + first.size;
    if (((starter_record->alone >> form_) & 1) == 0 ||
        (after < end && static_cast<uint8_t>(*after) >= 0x80 && !starts_segment(norm_record(decode(after).code)))) {
      return any(at, end);
    }
    next_ = after;
    kept_ = decomposition(*starter_record);
    kept_bytes_ = decomposition_bytes(*starter_record);
    return Outcome::kDecomposed;
  }
  const char* const start = at;
  bool composed = false;
  const char* kept = nullptr;
  uint8_t last_class = 0;
  at += first.size;
  while (at < end) {
    if (static_cast<uint8_t>(*at) < 0x80) break;
    const Decoded c = decode(at);
    const NormRecord& record = norm_record(c.code);
    if (starts_segment(record)) break;
    if (decomposition_bytes(record) != 0) return any(start, end);
    if (last_class == 0) {
      if (const uint32_t joined = compose_pair(starter, *starter_record, c.code, record)) {
        starter = joined;
        starter_record = &norm_record(joined);
        composed = true;
        at += c.size;
        continue;
      }
    }
    // The mark stays, if it can't join to what is inside the starter either and the order is right.
    if (is_attention(record) && (starter_record->canonical_bytes != 0 || last_class != 0)) return any(start, end);
    if (record.combining_class == 0 || record.combining_class < last_class) return any(start, end);
    if (last_class == 0) kept = at;
    last_class = record.combining_class;
    at += c.size;
  }
  next_ = at;
  if (!composed) return Outcome::kSame;
  composed_ = starter;
  kept_ = kept != nullptr ? kept : at;
  return Outcome::kComposed;
}

void Normalizer::compose_jamo(const char*& at, const char* end, char*& to) const {
  const auto* p = reinterpret_cast<const uint8_t*>(at);
  const auto* const stop = reinterpret_cast<const uint8_t*>(end);
  while (stop - p >= 6 && p[0] == 0xE1 && p[1] == 0x84 && p[2] - 0x80u < kLeads && p[3] == 0xE1 && p[4] == 0x85 &&
         p[5] - 0xA1u < kVowels) {
    uint32_t syllable = kSyllableBase + ((p[2] - 0x80u) * kVowels + (p[5] - 0xA1u)) * kTails;
    const uint8_t* next = p + 6;
    if (stop - next >= 3 && next[0] == 0xE1 && (next[1] & 0xFE) == 0x86) {
      const uint32_t tail = ((next[1] & 1u) << 6 | (next[2] & 63u)) + 0x1180 - kTailBase;
      if (tail - 1 < kTails - 1) {
        syllable += tail;
        next += 3;
      }
    }
    // Another syllable or ASCII follows, or it is looked up whether what follows could join.
    const bool plain = next == stop || *next < 0x80 || (stop - next >= 3 && next[0] == 0xE1 && next[1] == 0x84) ||
                       starts_segment(norm_record(decode(reinterpret_cast<const char*>(next)).code));
    if (!plain) break;
    to = encode(syllable, to);
    p = next;
    // A space or a short word between, but not a character that a mark may follow; longer stretches are for the
    // vectors.
    for (int i = 0; i < 16 && p < stop && *p < 0x80; ++i) {
      if (stop - p > 1 && p[1] >= 0x80 && !(stop - p > 2 && p[1] == 0xE1 && p[2] == 0x84)) break;
      *to++ = static_cast<char>(*p++);
    }
  }
  at = reinterpret_cast<const char*>(p);
}

void Normalizer::compose_kana(const char*& at, const char* end, char*& to) const {
  const auto* p = reinterpret_cast<const uint8_t*>(at);
  const auto* const stop = reinterpret_cast<const uint8_t*>(end);
  // U+3099 and U+309A.
  const auto is_mark = [](const uint8_t* q) { return q[0] == 0xE3 && q[1] == 0x82 && (q[2] == 0x99 || q[2] == 0x9A); };
  // Kana from U+3040 on, or U+4000 to U+9FFF: nothing there but the two marks changes or joins what stands before it.
  const auto is_plain = [&](const uint8_t* q) {
    return stop - q >= 3 && (q[0] - 0xE4u < 6 || (q[0] == 0xE3 && q[1] - 0x81u < 3 && !is_mark(q)));
  };
  while (stop - p >= 6 && is_plain(p)) {
    const uint8_t* const next = p + 3;
    if (!is_mark(next)) {
      if (*next >= 0x80 && !is_plain(next)) break;
      std::memcpy(to, p, 3);
      to += 3;
      p = next;
      continue;
    }
    const uint8_t* const after = next + 3;
    if (after != stop && *after >= 0x80 && !is_plain(after)) break;
    const uint32_t base = decode(reinterpret_cast<const char*>(p)).code;
    const uint32_t mark = 0x3000u + next[2];  // E3 82 99 is U+3099
    const uint32_t joined = compose_pair(base, norm_record(base), mark, norm_record(mark));
    if (joined == 0) break;
    to = encode(joined, to);
    p = after;
  }
  at = reinterpret_cast<const char*>(p);
}

Normalizer::Outcome Normalizer::decompose(const char* at, const char* end) {
  const Decoded first = decode(at);
  const NormRecord& first_record = norm_record(first.code);
  const char* after = at + first.size;
  if (is_attention(first_record)) {
    if (after < end && !starts_segment(norm_record(decode(after).code))) return any(at, end);
    next_ = after;
    if (const int bytes = decomposition_bytes(first_record)) {
      kept_ = decomposition(first_record);
      kept_bytes_ = bytes;
      return Outcome::kDecomposed;
    }
    append_decomposed(first.code);  // a Hangul syllable
    char* to = hangul_;
    for (const Unit unit : units_) to = encode(unit, to);
    units_.clear();
    kept_ = hangul_;
    kept_bytes_ = static_cast<int>(to - hangul_);
    return Outcome::kDecomposed;
  }
  // Marks that need no decomposition and are in order stay.
  const char* const start = at;
  uint8_t last_class = first_record.combining_class;
  at = after;
  while (at < end) {
    const Decoded c = decode(at);
    const NormRecord& record = norm_record(c.code);
    if (starts_segment(record)) break;
    if (is_attention(record) || record.combining_class < last_class) return any(start, end);
    last_class = record.combining_class;
    at += c.size;
  }
  next_ = at;
  return Outcome::kSame;
}

Normalizer::Outcome Normalizer::any(const char* at, const char* end) {
  const char* const start = at;
  units_.clear();
  do {
    const Decoded c = decode(at);
    if (at != start && starts_segment(norm_record(c.code))) break;
    append_decomposed(c.code);
    at += c.size;
  } while (at < end);
  next_ = at;
  sort_marks();
  if (composing_) compose_units();
  segment_.clear();
  char* to = segment_.room(units_.size() * 4);
  for (const Unit unit : units_) to = encode(unit & 0x1FFFFF, to);
  segment_.commit(to);
  units_.clear();
  return segment_.view() == std::string_view(start, static_cast<std::size_t>(at - start)) ? Outcome::kSame
                                                                                          : Outcome::kOther;
}

void Normalizer::append_decomposed(uint32_t code) {
  if (code - kSyllableBase < kSyllables) {
    const uint32_t index = code - kSyllableBase;
    units_.push_back(kLeadBase + index / (kVowels * kTails));
    units_.push_back(kVowelBase + index % (kVowels * kTails) / kTails);
    if (index % kTails != 0) units_.push_back(kTailBase + index % kTails);
    return;
  }
  const NormRecord& record = norm_record(code);
  const int bytes = decomposition_bytes(record);
  if (bytes == 0) {
    units_.push_back(code | static_cast<Unit>(record.combining_class) << 24);
    return;
  }
  const char* at = decomposition(record);
  for (const char* const end = at + bytes; at < end;) {
    const Decoded c = decode(at);
    units_.push_back(c.code | static_cast<Unit>(norm_record(c.code).combining_class) << 24);
    at += c.size;
  }
}

// The canonical ordering algorithm: runs of marks, stably by class.
void Normalizer::sort_marks() {
  const auto by_class = [](Unit a, Unit b) { return (a >> 24) < (b >> 24); };
  for (auto at = units_.begin(); at != units_.end();) {
    if ((*at >> 24) == 0) {
      ++at;
      continue;
    }
    const auto first = at;
    while (at != units_.end() && (*at >> 24) != 0) ++at;
    if (std::is_sorted(first, at, by_class)) continue;
    if (at - first <= 16) {
      for (auto i = first + 1; i != at; ++i) {
        for (auto j = i; j != first && by_class(*j, *(j - 1)); --j) std::swap(*j, *(j - 1));
      }
      continue;
    }
    // Counting keeps a run of a million marks linear.
    std::array<std::size_t, 257> place{};
    for (auto i = first; i != at; ++i) ++place[(*i >> 24) + 1];
    for (std::size_t c = 1; c < place.size(); ++c) place[c] += place[c - 1];
    sorted_.resize(static_cast<std::size_t>(at - first));
    for (auto i = first; i != at; ++i) sorted_[place[*i >> 24]++] = *i;
    std::copy(sorted_.begin(), sorted_.end(), first);
  }
}

// The canonical composition algorithm (Unicode §3.11, D117).
void Normalizer::compose_units() {
  std::size_t kept = 0;
  std::size_t starter = 0;
  bool has_starter = false;
  uint32_t last_class = 0;  // of what was kept after the starter
  for (std::size_t i = 0; i < units_.size(); ++i) {
    const Unit unit = units_[i];
    const uint32_t code = unit & 0x1FFFFF;
    const uint32_t unit_class = unit >> 24;
    if (has_starter) {
      const bool adjacent = kept == starter + 1;
      if (adjacent || (last_class != 0 && last_class < unit_class)) {
        const uint32_t first = units_[starter];
        if (const uint32_t joined = compose_pair(first, norm_record(first), code, norm_record(code))) {
          units_[starter] = joined;
          continue;
        }
      }
    }
    if (unit_class == 0) {
      starter = kept;
      has_starter = true;
    }
    last_class = unit_class;
    units_[kept++] = unit;
  }
  units_.resize(kept);
}

}  // namespace smolfast::text
