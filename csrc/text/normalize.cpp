#include "text/normalize.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "text/bytes.h"
#include "text/hangul.h"
#include "text/stream_safe.h"
#include "text/utf8.h"

#if defined(__GNUC__)
#define SMOLFAST_INLINE __attribute__((always_inline)) inline
#else
#define SMOLFAST_INLINE inline
#endif

namespace smolfast::text {
namespace {

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

}  // namespace

Normalizer::Normalizer(Form form, bool stream_safe)
    : form_(static_cast<int>(form)),
      stream_safe_(stream_safe),
      compatibility_(form == Form::kNfkc || form == Form::kNfkd),
      composing_(form == Form::kNfc || form == Form::kNfkc),
      tables_(scan_tables(form)),
      kernels_(scan_kernels()),
      compose_hangul_(hangul_composer()) {}

bool Normalizer::run(std::string_view text, Buffer& out) {
  if (!stream_safe_) return normalize<true>(text, &out);
  safe_.clear();
  if (!make_stream_safe(text, safe_)) return normalize<true>(text, &out);
  if (!normalize<true>(safe_.view(), &out)) out.append(safe_.view());
  return true;
}

// Most texts are in NFC, and many in NFKC; one pass finds that out and checks them.
std::optional<bool> Normalizer::run_unchecked(std::string_view text, Buffer& /*out*/) {
  if (stream_safe_ || !composing_) return std::nullopt;
  if (kernels_.is_valid_without_stops(text.data(), text.size(), tables_)) return false;
  return std::nullopt;
}

bool Normalizer::is_normalized(std::string_view text) {
  return !normalize<false>(text, nullptr);
}

// Inlined, as its three results are otherwise joined in memory and waited for.
SMOLFAST_INLINE Normalizer::Joined Normalizer::join(const char* segment, const char* stop, const char* end) const {
  const auto* const p = reinterpret_cast<const uint8_t*>(stop);
  const auto left = end - stop;
  const auto before = stop - segment;
  const auto starts = [&](int place) {
    return place == left || p[place] < 0x80 || starts_segment(norm_record(decode(stop + place).code));
  };
  if ((p[0] & 0xFE) == 0xCC) {  // U+0300 to U+037F
    if (before < 1 || (p[-1] & 0xC0) != 0x40) return {};
    const uint32_t first = kLatinCompositions[(p[0] & 1u) << 12 | (p[1] & 63u) << 6 | (p[-1] & 63u)];
    if (first == 0 || left == 2 || p[2] < 0x80) return {first, 1, 2};
    if ((p[2] & 0xFE) != 0xCC) return {starts(2) ? first : 0, 1, 2};
    const uint32_t mark = decode(stop + 2).code;
    return {starts(4) ? compose_pair(first, norm_record(first), mark, norm_record(mark)) : 0, 1, 4};
  }
  if (before < 3 || p[-3] != p[0]) return {};
  if (p[0] == 0xE3 && p[1] == 0x82 && p[2] - 0x99u < 2 && p[-2] - 0x81u < 3) {
    const uint32_t code = kKanaCompositions[(p[2] - 0x99u) * 192 + ((p[-2] - 0x81u) << 6 | (p[-1] & 63u))];
    // Kana from U+3040 on and Han start a segment, but for the two marks themselves, which are at E3 82.
    const bool plain = left >= 6 && (p[3] - 0xE4u < 6 || (p[3] == 0xE3 && (p[4] == 0x81 || p[4] == 0x83)));
    return {plain || starts(3) ? code : 0, 3, 3};
  }
  return {};
}

template <bool kWrite>
bool Normalizer::normalize(std::string_view text, Buffer* out) {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const char* copied = begin;   // what lies before is in `out`
  const char* segment = begin;  // where the last handled segment ended
  char* to = nullptr;  // where `out` goes on, with room for what is left of the text; null: nothing changed yet
  const char* at = begin;
  for (;;) {
    const Candidates found = kernels_.find_candidates(at, end, form_, tables_);
    if (found.mask == 0) break;
    at = found.block + kScanBlock;
    for (uint64_t mask = found.mask; mask != 0;) {
      const int place = __builtin_ctzll(mask);
      const char* const stop = found.block + place;
      mask &= mask - 1;
      if (composing_) {
        if (static_cast<uint8_t>(*stop) == 0xE1) {
          if (kWrite && end - found.block >= kScanBlock + 16) {
            char* target = to != nullptr ? to : out->room(text.size());
            uint64_t left = mask | uint64_t{1} << place;
            if (compose_hangul_(found.block, end, left, segment, copied, target)) {
              to = target;
              mask = left;
              if (mask == 0) at = segment;
              continue;
            }
          }
        } else if (const Joined joined = join(segment, stop, end); joined.code != 0) {
          if constexpr (!kWrite) return true;
          if (to == nullptr) to = out->room(text.size());
          const char* const base = stop - joined.base_bytes;
          if (base - copied <= 64 && end - copied >= 64) {
            std::memcpy(to, copied, 64);
            to += base - copied;
          } else {
            to = copy_stretch(copied, base, end, to);
          }
          to = encode_short(joined.code, to);
          copied = segment = stop + joined.mark_bytes;
          if (joined.mark_bytes == 4) mask &= mask - 1;  // two marks
          continue;
        }
      }
      const NormRecord& record = norm_record(decode(stop).code);
      if (!is_stop(record, form_)) continue;
      segment = composing_ && stop > segment && !starts_segment(record) ? previous(stop) : stop;
      const Outcome outcome = composing_ ? compose(segment, end) : decompose(segment, end);
      if (outcome != Outcome::kSame) {
        if constexpr (!kWrite) return true;
        if (to == nullptr) to = out->room(text.size());
        to = copy_stretch(copied, segment, end, to);
        if (outcome == Outcome::kComposed) {
          to = encode(composed_, to);
          copied = kept_;
        } else {
          if (outcome == Outcome::kDecomposed) {
            std::memcpy(to, kept_, 48);
            out->commit(to + kept_bytes_);
          } else {
            out->commit(to);
            out->append(segment_.view());
          }
          copied = next_;
          to = out->room(static_cast<std::size_t>(end - copied));
        }
      }
      segment = next_;
      if (segment - found.block >= kScanBlock) break;
      mask &= ~uint64_t{0} << (segment - found.block);
    }
    if (segment > at) at = segment;
  }
  if constexpr (kWrite) {
    if (to == nullptr) return false;
    out->commit(to);
    out->append(copied, static_cast<std::size_t>(end - copied));
    return true;
  }
  return false;
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
