#include "text/simplify.h"

#include <algorithm>
#include <cstring>

#include "text/byte_loops.h"
#include "text/bytes.h"
#include "text/casing.h"
#include "text/hangul.h"
#include "text/tables.h"
#include "text/utf8.h"

namespace smolfast::text {
namespace {

constexpr const char* kWeekdays[] = {"monday", "tuesday",  "wednesday", "thursday",
                                     "friday", "saturday", "sunday",    nullptr};
constexpr const char* kMonths[] = {"january", "february",  "march",   "april",    "may",      "june", "july",
                                   "august",  "september", "october", "november", "december", nullptr};
// The most bytes that one input byte becomes, with room to spare: a Hangul syllable of 3 becomes 9, U+0390 of 2 stays
// short.
constexpr std::size_t kMostGrowth = 4;
constexpr std::ptrdiff_t kPiece = std::ptrdiff_t{1} << 14;

char lowered(char c) {
  return static_cast<char>(c + (static_cast<uint8_t>(c - 'A') < 26 ? 'a' - 'A' : 0));
}

// Writes the jamo of a Hangul syllable (Unicode §3.12), three bytes each; nine bytes whatever their number.
char* put_jamo(uint32_t syllable, char* to) {
  const uint32_t lead = syllable / (kVowels * kTails), rest = syllable % (kVowels * kTails);
  const uint32_t vowel = rest / kTails, trailing = rest % kTails;
  const uint32_t last = 0xA7 + trailing;  // of U+11A7 on, where U+11C0 begins the next 64
  const uint64_t eight = 0xE1u | 0x84u << 8 | (0x80u + lead) << 16 | 0xE1u << 24 | uint64_t{0x85} << 32 |
                         uint64_t{0xA1 + vowel} << 40 | uint64_t{0xE1} << 48 | uint64_t{0x86 + (last >> 6 & 1)} << 56;
  store_eight(eight, to);
  to[8] = static_cast<char>(0x80 | (last & 63));
  return to + (trailing != 0 ? 9 : 6);
}

bool is_space(uint32_t code) {
  return (kind(code) & kSpace) != 0;
}

}  // namespace

Simplifier::Simplifier(const SimplifyOptions& options) : options_(options), simplify_ascii_(ascii_simplifier()) {
  interesting_ = static_cast<uint16_t>(
      (options.lowercase ? kLowers : 0) | (options.norm_numbers ? kDecimalDigit : 0) |
      (options.remove_punctuation ? kDatatrovePunctuation : 0) | (options.norm_whitespace ? kSpace : 0) |
      (options.norm_unicode_diacritics ? kDecomposes | kNonspacingMark | kReordered : 0));
  for (int c = 0; c < 128; ++c) {
    const uint16_t k = kind(static_cast<uint32_t>(c));
    ascii_.mapped[c] = options.lowercase ? lowered(static_cast<char>(c)) : static_cast<char>(c);
    ascii_.actions[c] = AsciiRules::kCopy;
    if (options.remove_punctuation && (k & kDatatrovePunctuation) != 0) ascii_.mapped[c] = ' ';
    if (options.norm_whitespace && ((k & kSpace) != 0 || ascii_.mapped[c] == ' ')) {
      ascii_.actions[c] = AsciiRules::kSpace;
      ascii_.mapped[c] = ' ';
    }
    if (options.norm_numbers && (k & kDecimalDigit) != 0) ascii_.actions[c] = AsciiRules::kDigit;
    const char letter = ascii_.mapped[c];
    if ((options.norm_weekdays && letter != 0 && std::strchr("mtwfs", letter) != nullptr) ||
        (options.norm_monthnames && letter != 0 && std::strchr("jfmasond", letter) != nullptr)) {
      ascii_.actions[c] = AsciiRules::kName;
    }
  }
  ascii_.fill_sets();
  std::fill(direct_, direct_ + 256, Direct{{}, 0, Direct::kNo});
  for (uint32_t code = 0; code < kLong; ++code) direct_[kBelowLong + code] = direct(code);
  uint32_t next = kBelowLong + kLong;
  for (const uint32_t page : kLongPages) {
    long_pages_[page] = static_cast<uint16_t>(next);
    for (uint32_t low = 0; low < 256; ++low) direct_[next++] = direct(page << 8 | low);
  }
}

Simplifier::Direct Simplifier::direct(uint32_t code) const {
  Direct found{{}, 0, Direct::kNo};
  const auto put = [&found](const char* bytes, std::size_t size) {
    std::memcpy(found.bytes, bytes, size);
    found.size = static_cast<uint8_t>(size);
    found.how = Direct::kYes;
  };
  const auto blank = [&] {
    put(" ", 1);
    found.how = Direct::kBlank;
  };
  if (code < 0x80) {
    if (ascii_.actions[code] == AsciiRules::kCopy) put(&ascii_.mapped[code], 1);
    if (ascii_.actions[code] == AsciiRules::kSpace) blank();
    return found;
  }
  char own[4];
  const auto size = static_cast<std::size_t>(encode(code, own) - own);
  const uint16_t reasons = kind(code) & interesting_;
  const bool fused = options_.lowercase && options_.norm_unicode_diacritics;
  if (reasons == 0) {
    put(own, size);
  } else if ((reasons & kDecimalDigit) != 0) {
    return found;
  } else if ((reasons & (kDatatrovePunctuation | kSpace)) != 0) {
    if (options_.norm_whitespace) blank();
  } else if ((reasons & ~(kNonspacingMark | kReordered)) == 0 && (reasons & kNonspacingMark) != 0) {
    found.how = Direct::kYes;  // dropped
  } else if (fused && (reasons & ~(kLowers | kDecomposes)) == 0) {
    const CaseRecord& record = kSimpleRecords[lookup(kSimpleIndex, kSimpleValues, code)];
    if (record.size != 0 && record.size <= sizeof(found.bytes)) put(record.bytes, record.size);
  }
  return found;
}

char* Simplifier::append_direct(const char*& at, const char* end, char* to, bool& after_space) const {
  constexpr std::ptrdiff_t kLongAscii = 16;
  const auto* p = reinterpret_cast<const uint8_t*>(at);
  const auto* const stop = reinterpret_cast<const uint8_t*>(end);
  unsigned after = after_space ? 1 : 0;
  bool ascii = true;
  while (p < stop) {
    const uint8_t lead = *p;
    if (lead - 0xE4u < 6) {
      // U+4000 to U+9FFF stay.
      std::memcpy(to, p, 3);
      to += 3;
      p += 3;
      after = 0;
      ascii = false;
      continue;
    }
    const Direct* found = nullptr;
    int size = 1;
    if (lead < 0x80) {
      // A long stretch of ASCII is done faster elsewhere.
      if (!ascii && stop - p >= kLongAscii) {
        const char* const eight = reinterpret_cast<const char*>(p);
        if (top_bits(load_eight(eight) | load_eight(eight + 8)) == 0) break;
      }
      ascii = true;
      found = &direct_[kBelowLong + lead];
    } else if (lead < 0xE0) {
      found = &direct_[kBelowLong + ((lead & 31u) << 6 | (p[1] & 63u))];
      size = 2;
      ascii = false;
    } else {
      // Nothing of four bytes is there.
      const uint32_t code = (lead & 31u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u);
      if (lead >= 0xF0) break;
      if (code - kSyllableBase < kSyllables && options_.norm_unicode_diacritics) {
        to = put_jamo(code - kSyllableBase, to);
        p += 3;
        after = 0;
        ascii = false;
        continue;
      }
      found = &direct_[long_pages_[code >> 8] + (code & 0xFF)];
      size = 3;
      ascii = false;
    }
    if (found->how == Direct::kNo) break;
    std::memcpy(to, found, sizeof(*found));
    to += found->size - (found->how & after);
    after = found->how;
    p += size;
  }
  at = reinterpret_cast<const char*>(p);
  after_space = after != 0;
  return to;
}

bool Simplifier::run(std::string_view text, Buffer& out) {
  const std::size_t before = out.size();
  append(text, out);
  if (out.view().substr(before) != text) return true;
  out.commit(out.data() + before);
  return false;
}

// Past digits, and past a separator and digits if they follow: \p{Nd}+([.,،٫⎖⎗⎘]\p{Nd}+)?
const char* Simplifier::skip_number(const char* at, const char* end) const {
  const auto digits = [&](const char* p) {
    while (p < end) {
      const Decoded c = decode(p);
      if ((kind(c.code) & kDecimalDigit) == 0) break;
      p += c.size;
    }
    return p;
  };
  at = digits(at);
  if (at < end) {
    const Decoded c = decode(at);
    if ((kind(c.code) & kNumberSeparator) != 0) {
      const char* const fraction = digits(at + c.size);
      if (fraction != at + c.size) at = fraction;
    }
  }
  return at;
}

std::size_t Simplifier::match(const char* at, const char* end, const char* const* names) const {
  for (; *names != nullptr; ++names) {
    const std::size_t size = std::strlen(*names);
    if (static_cast<std::size_t>(end - at) < size) continue;
    std::size_t i = 0;
    while (i < size && (options_.lowercase ? lowered(at[i]) : at[i]) == (*names)[i]) ++i;
    if (i == size) return size;
  }
  return 0;
}

std::size_t Simplifier::name_at(const char* at, const char* end, const char*& replacement) const {
  if (options_.norm_weekdays) {
    replacement = "WEEKDAY";
    if (const std::size_t size = match(at, end, kWeekdays)) return size;
  }
  if (!options_.norm_monthnames) return 0;
  replacement = "MONTH";
  const std::size_t size = match(at, end, kMonths);
  // Weekdays are replaced before months, so that one that starts inside a month's name breaks it.
  for (std::size_t i = 1; options_.norm_weekdays && i < size; ++i) {
    if (match(at + i, end, kWeekdays) != 0) return 0;
  }
  return size;
}

// Kept marks in canonical order. Only a few marks are not nonspacing, so that this is rarely more than one.
char* Simplifier::flush_marks(char* to) {
  if (marks_.size() > 1) {
    std::stable_sort(marks_.begin(), marks_.end(), [](uint32_t a, uint32_t b) { return (a >> 24) < (b >> 24); });
  }
  for (const uint32_t mark : marks_) to = encode(mark & 0x1FFFFF, to);
  marks_.clear();
  return to;
}

// Writes the canonical decomposition of a character without nonspacing marks. Marks that stay wait for flush_marks.
char* Simplifier::put_decomposed(uint32_t code, char* to) {
  if (code - kSyllableBase < kSyllables) return put_jamo(code - kSyllableBase, flush_marks(to));
  const NormRecord& record = norm_record(code);
  const char* at = reinterpret_cast<const char*>(kDecompositions) + record.canonical;
  const char* end = at + record.canonical_bytes;
  char own[4];
  if (record.canonical_bytes == 0) {
    at = own;
    end = encode(code, own);
  }
  while (at < end) {
    const Decoded c = decode(at);
    const uint16_t k = kind(c.code);
    const uint32_t combining_class = (k & kReordered) != 0 ? norm_record(c.code).combining_class : 0;
    if (combining_class == 0) to = flush_marks(to);
    if ((k & kNonspacingMark) == 0) {
      if (combining_class != 0) {
        marks_.push_back(c.code | combining_class << 24);
      } else {
        std::memcpy(to, at, c.size);
        to += c.size;
      }
    }
    at += c.size;
  }
  return to;
}

// A stretch of ASCII, from `at` up to a byte that isn't, or to `stop`; numbers and names may go on to `end`.
char* Simplifier::append_ascii(const char*& at, const char* stop, const char* end, char* to, bool& after_space) const {
  unsigned after = after_space ? 1 : 0;
  while (at < stop && static_cast<uint8_t>(*at) < 0x80) {
    const AsciiRules::Action action = ascii_.actions[static_cast<uint8_t>(*at)];
    if (action <= AsciiRules::kSpace) {
      to = simplify_ascii_(ascii_, at, stop, to, after);
      continue;
    }
    after = 0;
    if (action == AsciiRules::kDigit) {
      at = skip_number(at, end);
      *to++ = '0';
      continue;
    }
    const char* replacement = nullptr;
    if (const std::size_t size = name_at(at, end, replacement)) {
      const std::size_t bytes = std::strlen(replacement);
      std::memcpy(to, replacement, bytes);
      to += bytes;
      at += size;
    } else {
      *to++ = ascii_.mapped[static_cast<uint8_t>(*at)];
      ++at;
    }
  }
  after_space = after != 0;
  return to;
}

void Simplifier::append(std::string_view text, Buffer& out) {
  const char* const begin = text.data();
  const char* end = begin + text.size();
  const std::size_t start = out.size();
  char* to = out.room(0);
  const char* at = begin;
  // The last character, before marks were dropped, was a space: more are not written. True at the start, which strips
  // it.
  bool after_space = true;
  const uint16_t interesting = interesting_;
  const bool fused = options_.lowercase && options_.norm_unicode_diacritics;
  const char* stop = begin;
  while (at < end) {
    if (at >= stop) {
      // A piece after the other, so that there's room for the most that one may become, and not for all of the text.
      stop = end - at > kPiece ? at + kPiece : end;
      while (stop < end && is_continuation(*stop)) ++stop;
      out.commit(to);
      to = out.room((static_cast<std::size_t>(stop - at) + marks_.size()) * kMostGrowth);
    }
    if (static_cast<uint8_t>(*at) < 0x80) {
      if (!marks_.empty()) to = flush_marks(to);
      to = append_ascii(at, stop, end, to, after_space);
      continue;
    }
    const char* const stretch = at;
    if (!marks_.empty() && (kind(decode(at).code) & kReordered) == 0) to = flush_marks(to);
    if (marks_.empty()) to = append_direct(at, stop, to, after_space);
    if (at == stop) continue;
    if (at != stretch && static_cast<uint8_t>(*at) < 0x80) continue;
    // Elsewhere characters that stay as they are, and most letters, without a look at the members.
    const Decoded c = decode(at);
    const uint16_t reasons = kind(c.code) & interesting;
    if (reasons == 0) {
      if (!marks_.empty()) to = flush_marks(to);
      std::memcpy(to, at, end - at >= 4 ? 4 : c.size);
      to += c.size;
      at += c.size;
      after_space = false;
      continue;
    }
    if (fused && (reasons & ~(kLowers | kDecomposes)) == 0) {
      if (const uint16_t place = lookup(kSimpleIndex, kSimpleValues, c.code)) {
        if (!marks_.empty()) to = flush_marks(to);
        const CaseRecord& record = kSimpleRecords[place];
        std::memcpy(to, record.bytes, sizeof(record.bytes));
        to += record.size;
        at += c.size;
        after_space = false;
        continue;
      }
    }
    if ((reasons & kDecimalDigit) != 0) {
      if (!marks_.empty()) to = flush_marks(to);
      at = skip_number(at, end);
      *to++ = '0';
      after_space = false;
      continue;
    }
    if ((reasons & (kDatatrovePunctuation | kSpace)) != 0) {
      if (!marks_.empty()) to = flush_marks(to);
      if (options_.norm_whitespace) {
        *to = ' ';
        to += !after_space;
        after_space = true;
      } else {
        *to++ = ' ';
      }
      at += c.size;
      continue;
    }
    after_space = false;
    if ((reasons & kLowers) != 0) {
      const CaseRecord& lower = kLowerRecords[lookup(kLowerIndex, kLowerValues, c.code)];
      char bytes[8];
      std::memcpy(bytes, lower.bytes, sizeof(lower.bytes));
      if (c.code == kCapitalSigma && is_final_sigma(begin, at, end)) bytes[1] = '\x82';
      for (const char* p = bytes; p < bytes + lower.size;) {
        const Decoded l = decode(p);
        if (options_.norm_unicode_diacritics) {
          to = put_decomposed(l.code, to);
        } else {
          to = encode(l.code, to);
        }
        p += l.size;
      }
    } else {
      to = put_decomposed(c.code, to);
    }
    at += c.size;
  }
  out.commit(to);
  to = flush_marks(out.room(marks_.size() * kMostGrowth));
  char* const first = out.data() + start;
  // The last strip, of what dropped marks uncovered or, where white space isn't normalised, of all of it.
  char* from = first;
  while (from < to) {
    const Decoded c = decode(from);
    if (!is_space(c.code)) break;
    from += c.size;
  }
  while (to > from) {
    const char* const last = previous(to);
    if (!is_space(decode(last).code)) break;
    to = const_cast<char*>(last);
  }
  if (from != first) std::memmove(first, from, static_cast<std::size_t>(to - from));
  out.commit(out.data() + start + (to - from));
}

}  // namespace smolfast::text
