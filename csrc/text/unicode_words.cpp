#include "text/unicode_words.h"

#include "text/tables.h"
#include "text/unicode_words_plain.h"
#include "text/utf8.h"

namespace smolfast::text {
namespace {

bool is_letter(WordBreak k) {
  return k == WordBreak::kALetter || k == WordBreak::kHebrewLetter;
}
bool is_ignored(WordBreak k) {
  return k == WordBreak::kExtend || k == WordBreak::kFormat || k == WordBreak::kZwj;
}
bool is_wordlike(WordBreak k) {
  return is_letter(k) || k == WordBreak::kNumeric || k == WordBreak::kSingle;
}
bool is_newline(WordBreak k) {
  return k == WordBreak::kNewline || k == WordBreak::kCr || k == WordBreak::kLf;
}

// The class of the first character from `at` on that WB4 doesn't skip; kOther at the end.
WordBreak class_ahead(const char* at, const char* end) {
  while (at < end) {
    const Decoded c = decode(at);
    const WordBreak k = word_break(c.code);
    if (!is_ignored(k)) return k;
    at += c.size;
  }
  return WordBreak::kOther;
}

// Whether rules WB5 to WB13b, and WB3d, WB15 and WB16 for pairs, keep `next` with what stands before it.
bool joins(WordBreak base, WordBreak next, const char* after_next, const char* end) {
  using enum WordBreak;
  if (is_letter(base)) {
    if (is_letter(next) || next == kNumeric || next == kExtendNumLet) return true;
    if (next == kMidLetter || next == kMidNumLet || next == kSingleQuote) {
      if (base == kHebrewLetter && next == kSingleQuote) return true;
      return is_letter(class_ahead(after_next, end));
    }
    return next == kDoubleQuote && base == kHebrewLetter && class_ahead(after_next, end) == kHebrewLetter;
  }
  if (base == kNumeric) {
    if (is_letter(next) || next == kNumeric || next == kExtendNumLet) return true;
    return (next == kMidNum || next == kMidNumLet || next == kSingleQuote) && class_ahead(after_next, end) == kNumeric;
  }
  if (base == kExtendNumLet) return is_letter(next) || next == kNumeric || next == kExtendNumLet;
  return base == kRegionalIndicator && next == kRegionalIndicator;
}

struct Segment {
  const char* end;
  bool word;
};

// The segment that starts at `at`, by the rules of UAX #29 with kSingle joining nothing but its marks.
Segment segment(const char* at, const char* end) {
  using enum WordBreak;
  const Decoded first = decode(at);
  WordBreak base = word_break(first.code);
  at += first.size;
  if (is_newline(base)) return {at, false};
  bool word = is_wordlike(base);
  bool after_zwj = base == kZwj;
  bool adjacent = true;  // nothing skipped by WB4 since the base
  while (at < end) {
    const Decoded c = decode(at);
    const WordBreak k = word_break(c.code);
    const char* after = at + c.size;
    if (is_ignored(k)) {
      after_zwj = k == kZwj;
      adjacent = false;
      at = after;
      continue;
    }
    if (after_zwj && (kind(c.code) & kPictographic) != 0) {
      base = k;  // WB3c
    } else if (base == kWSegSpace && k == kWSegSpace && adjacent) {
      base = k;  // WB3d
    } else if (joins(base, k, after, end)) {
      if (k == kMidLetter || k == kMidNum || k == kMidNumLet || k == kSingleQuote || k == kDoubleQuote) {
        // Kept for the letter or number ahead, which then follows whatever WB4 skips between; alone only after Hebrew.
        const WordBreak ahead = class_ahead(after, end);
        const bool joined = base == kNumeric ? ahead == kNumeric : is_letter(ahead);
        at = after;
        if (joined) {
          for (;;) {
            const Decoded d = decode(at);
            at += d.size;
            if (!is_ignored(word_break(d.code))) break;
          }
        }
        base = joined ? ahead : kOther;
        after_zwj = false;
        adjacent = true;
        continue;
      }
      base = base == kRegionalIndicator ? kOther : k;
    } else {
      break;
    }
    word = word || is_wordlike(k);
    after_zwj = false;
    adjacent = true;
    at = after;
  }
  return {at, word};
}

std::size_t scan_baseline(std::string_view text, std::size_t& position, Word* words, std::size_t capacity) {
  const char* begin = text.data();
  const char* end = begin + text.size();
  const char* at = begin + position;
  std::size_t found = 0;
  while (at < end && found < capacity) {
    if (capacity - found < kPlainBlockWords && found != 0) break;
    auto offset = static_cast<std::size_t>(at - begin);
    found += scan_plain_words(text, offset, words + found, capacity - found);
    at = begin + offset;
    if (at == end || capacity - found < kPlainBlockWords) break;
    const Segment next = segment(at, end);
    if (next.word) {
      words[found++] = {static_cast<uint32_t>(at - begin), static_cast<uint32_t>(next.end - begin)};
    }
    at = next.end;
  }
  position = static_cast<std::size_t>(at - begin);
  return found;
}

}  // namespace

WordScanner::WordScanner(std::string_view text) : text_(text), scan_(scan_baseline) {}

std::size_t WordScanner::next(Word* words, std::size_t capacity) {
  return scan_(text_, at_, words, capacity);
}

}  // namespace smolfast::text
