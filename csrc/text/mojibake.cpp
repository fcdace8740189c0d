#include "text/mojibake.h"

#include <array>
#include <cstdint>
#include <cstring>

#include "text/tables.h"
#include "text/utf8.h"

namespace smolfast::text {
namespace {

// What Windows-1252 shows for the bytes 80 to 9F; 0 for its holes, which the WHATWG leaves as control characters.
constexpr uint16_t kWindows1252[32] = {0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                       0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017D, 0,
                                       0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                       0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

// The encodings that have a character at a byte.
constexpr uint8_t kInLatin1 = 1, kInWindows1252 = 2;

struct Byte {
  uint8_t value;
  uint8_t encodings;  // 0: none of the two has the character
};

Byte byte_of(uint32_t code) {
  if (code < 0x80 || (code >= 0xA0 && code < 0x100)) return {static_cast<uint8_t>(code), kInLatin1 | kInWindows1252};
  if (code < 0xA0) {
    const bool hole = kWindows1252[code - 0x80] == 0;
    return {static_cast<uint8_t>(code), static_cast<uint8_t>(kInLatin1 | (hole ? kInWindows1252 : 0))};
  }
  for (int i = 0; i < 32; ++i) {
    if (kWindows1252[i] == code) return {static_cast<uint8_t>(0x80 + i), kInWindows1252};
  }
  return {0, 0};
}

// Classes of characters whose neighbourhood tells misread text, after ftfy.badness.
enum Class : uint32_t {
  kCommon = 1 << 0,
  kC1 = 1 << 1,
  kBad = 1 << 2,
  kLaw = 1 << 3,
  kCurrency = 1 << 4,
  kStart = 1 << 5,
  kEnd = 1 << 6,
  kNumeric = 1 << 7,
  kUpper = 1 << 8,
  kLower = 1 << 9,
  kDegree = 1 << 10,
  kThorn = 1 << 11,
  kAsciiLower = 1 << 12,
  kAsciiUpper = 1 << 13,
  kWhite = 1 << 14,
  kWord = 1 << 15,
  kStop = 1 << 16
};

// By the byte that stands for the character in either encoding, c1 aside.
constexpr std::array<uint32_t, 256> make_classes() {
  std::array<uint32_t, 256> classes{};
  const auto put = [&classes](std::initializer_list<int> bytes, uint32_t bits) {
    for (const int byte : bytes) classes[static_cast<std::size_t>(byte)] |= bits;
  };
  put({0xA0, 0xAD, 0xB7, 0xB4, 0x96, 0x97, 0x85, 0x92}, kCommon);
  put({0xA6, 0xA4, 0xA8, 0xAC, 0xAF, 0xB8, 0x83, 0x88, 0x98, 0x86, 0x87, 0x89, 0xAA, 0xBA}, kBad);
  put({0xB6, 0xA7}, kLaw);
  put({0xA2, 0xA3, 0xA5, 0x80}, kCurrency);
  put({0xA1, 0xAB, 0xBF, 0xA9, 0x91, 0x82, 0x93, 0x84, 0x95, 0x8B}, kStart);
  put({0xAE, 0xBB, 0x94, 0x9B, 0x99}, kEnd);
  put({0xB2, 0xB3, 0xB9, 0xB1, 0xBC, 0xBD, 0xBE, 0xD7, 0xB5, 0xF7}, kNumeric);
  for (int c = 0xC0; c <= 0xD1; ++c) put({c}, kUpper);
  put({0xD8, 0xDC, 0xDD, 0x8C, 0x8A, 0x8E, 0x9F}, kUpper);
  for (int c = 0xE0; c <= 0xF1; ++c) put({c}, kLower);
  put({0xDF, 0xFC, 0x9C, 0x9A, 0x9E}, kLower);
  put({0xB0}, kDegree);
  put({0xDE}, kThorn);
  for (int c = 'a'; c <= 'z'; ++c) put({c}, kAsciiLower | kWord);
  for (int c = 'A'; c <= 'Z'; ++c) put({c}, kAsciiUpper | kWord);
  for (int c = '0'; c <= '9'; ++c) put({c}, kWord);
  put({'_', 0xAA, 0xBA, 0xB5, 0xB2, 0xB3, 0xB9, 0xBC, 0xBD, 0xBE, 0x83, 0x88, 0x8A, 0x8C, 0x8E, 0x9A, 0x9C, 0x9E, 0x9F},
      kWord);
  for (int c = 0xC0; c <= 0xFF; ++c) {
    if (c != 0xD7 && c != 0xF7) put({c}, kWord);
  }
  put({' ', '\t', '\n', '\v', '\f', '\r', 0x1C, 0x1D, 0x1E, 0x1F, 0xA0}, kWhite);
  put({'.', ',', '?', '!'}, kStop);
  return classes;
}
constexpr std::array<uint32_t, 256> kClasses = make_classes();

// A character as the rules see it: its class and its byte, 0 where neither encoding has it.
struct Seen {
  uint32_t bits = 0;
  uint8_t byte = 0;
};

Seen see(uint32_t code) {
  if (code >= 0x80 && code < 0xA0) return {kC1, 0};
  const Byte b = byte_of(code);
  if (b.encodings == 0) return {(kind(code) & kAlphanumeric) != 0 ? uint32_t{kWord} : 0, 0};
  return {kClasses[b.value], b.value};
}

// Whether a rule of badness holds for up to four neighbours, the first of which is `a`; absent ones are empty.
bool is_bad_here(const Seen& a, const Seen& b, const Seen& c, const Seen& d, bool b_exists) {
  constexpr uint32_t signs = kStart | kEnd | kCurrency | kNumeric | kLaw;
  const auto is = [](const Seen& s, uint32_t bits) { return (s.bits & bits) != 0; };
  const auto one_of = [](const Seen& s, std::initializer_list<int> bytes) {
    for (const int byte : bytes) {
      if (s.byte == byte) return true;
    }
    return false;
  };
  if (is(a, kC1)) return true;
  if (!b_exists) return false;
  if (is(a, kBad | kLower | kUpper | signs) && is(b, kBad)) return true;
  if (is(a, kBad) && is(b, kLower | kUpper | signs)) return true;
  if (is(a, kAsciiLower | kAsciiUpper) && is(b, kThorn) && is(c, kBad)) return true;
  if (is(a, kLower | kEnd | kCurrency | kNumeric) && is(b, kUpper)) return true;
  if (is(a, kEnd | kCurrency | kNumeric) && is(b, kLower)) return true;
  if (is(a, kLower | kEnd) && is(b, kCurrency)) return true;
  if (is(a, kWhite) && is(b, kUpper) && is(c, kCurrency)) return true;
  if (is(a, kUpper) && is(b, kNumeric | kLaw)) return true;
  if (is(a, kLower | kUpper | kCurrency | kEnd) && is(b, kStart) && is(c, kNumeric)) return true;
  if (is(a, kLower | kUpper | kCurrency | kNumeric | kLaw) && is(b, kEnd) && is(c, kStart)) return true;
  if (is(a, kCurrency | kNumeric) && is(b, kStart)) return true;
  if (is(a, kAsciiLower) && is(b, kUpper) && is(c, kStart | kCurrency)) return true;
  if (is(a, kLower | kUpper) && is(b, kStart | kEnd) && is(c, kWord)) return true;
  if (one_of(a, {0x8C, 0x9C}) && !is(b, kAsciiLower | kAsciiUpper)) return true;
  if (is(a, kUpper) && is(b, kDegree)) return true;
  if (one_of(a, {0xC2, 0xC3, 0xCE, 0xD0}) &&
      (is(b, kStart | kEnd) || one_of(b, {0x80, 0x9C, 0x8A, 0x9A, 0xA2, 0xA3, 0x9F, 0x9E, 0xA0, 0xAD, 0xAE, 0xA9, 0xB0,
                                          0xB7, 0xBB, 0x96, 0x97, 0xB4}))) {
    return true;
  }
  if (a.byte == 0xD7 && one_of(b, {0xB2, 0xB3})) return true;
  const auto arabic = [&](const Seen& lead, const Seen& next) {
    return one_of(lead, {0xD8, 0xD9}) && (is(next, kCommon | kCurrency | kBad | kNumeric | kStart) ||
                                          one_of(next, {0x9F, 0x8A, 0xAE, 0xB0, 0xB5, 0xBB}));
  };
  if (arabic(a, b) && arabic(c, d)) return true;
  if (a.byte == 0xE0 && one_of(b, {0xB2, 0xB5, 0xB9, 0xBC, 0xBD, 0xBE})) return true;
  // A space after Ã or Â, or Â before what it stands for itself.
  if (is(a, kAsciiLower) && one_of(b, {0xC2, 0xC3}) && c.byte == ' ') return true;
  if (is(a, kAsciiLower) && is(b, kWhite) && one_of(c, {0xC2, 0xC3}) && d.byte == ' ') return true;
  return is(a, kAsciiLower | kStop | kEnd) && b.byte == 0xC2 && (c.byte == ' ' || is(c, kStart | kEnd));
}

bool is_bad(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  Seen window[4];
  int held = 0;
  bool first = true;
  for (;;) {
    while (held < 4 && at < end) {
      const Decoded c = decode(at);
      window[held++] = see(c.code);
      at += c.size;
    }
    if (held == 0) return false;
    for (int i = held; i < 4; ++i) window[i] = {};
    if (first && held > 1 && (window[0].byte == 0xC2 || window[0].byte == 0xC3) && window[1].byte == ' ') return true;
    first = false;
    if (is_bad_here(window[0], window[1], window[2], window[3], held > 1)) return true;
    window[0] = window[1], window[1] = window[2], window[2] = window[3];
    --held;
  }
}

// The well-formed sequence of 2 to 4 bytes that the characters at `at` stand for: where it ends, or null. `encodings`
// keeps those that all its characters are in.
const char* skip_sequence(const char* at, const char* end, uint8_t& encodings, char* bytes, int& size) {
  const Decoded first = decode(at);
  const Byte lead = byte_of(first.code);
  // F1, F2 and F4 lead only to code points that mean nothing.
  if (lead.encodings == 0 || lead.value < 0xC2 || (lead.value > 0xF0 && lead.value != 0xF3)) return nullptr;
  size = lead.value < 0xE0 ? 2 : lead.value < 0xF0 ? 3 : 4;
  uint8_t both = encodings & lead.encodings;
  bytes[0] = static_cast<char>(lead.value);
  at += first.size;
  for (int i = 1; i < size; ++i) {
    if (at >= end) return nullptr;
    const Decoded c = decode(at);
    const Byte next = byte_of(c.code);
    both &= next.encodings;
    if (both == 0 || next.value < 0x80 || next.value > 0xBF) return nullptr;
    bytes[i] = static_cast<char>(next.value);
    at += c.size;
  }
  const std::string_view sequence(bytes, static_cast<std::size_t>(size));
  if (first_invalid_byte(sequence) != sequence.size()) return nullptr;
  encodings = both;
  return at;
}

// A continuation byte that rarely stands for itself: a stretch right after one is the middle of something else.
bool is_strict_continuation(uint32_t code) {
  const Byte b = byte_of(code);
  if (b.encodings == 0 || b.value < 0x80 || b.value > 0xBF) return false;
  if (b.encodings == kInWindows1252) {
    for (const int loose : {0x96, 0x97, 0x91, 0x92, 0x82, 0x93, 0x94, 0x84, 0x95, 0x85}) {
      if (b.value == loose) return false;
    }
  }
  return true;
}

}  // namespace

bool MojibakeFixer::fix_once(std::string_view text, Buffer& out) {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  segments_.clear();
  uint8_t common = kInLatin1 | kInWindows1252;
  char bytes[4];
  int size = 0;
  // Leads are U+00C2 to U+00F4: in UTF-8 they start with C3.
  const char* last_end = begin;
  for (const char* at = begin; at < end;) {
    at = static_cast<const char*>(std::memchr(at, 0xC3, static_cast<std::size_t>(end - at)));
    if (at == nullptr) break;
    if (at + 2 >= end || static_cast<uint8_t>(at[2]) < 0x80) {
      at += 2;
      continue;
    }
    uint8_t encodings = kInLatin1 | kInWindows1252;
    const char* stop = skip_sequence(at, end, encodings, bytes, size);
    if (stop == nullptr || (at > last_end && is_strict_continuation(decode(previous(at)).code))) {
      at += 2;
      continue;
    }
    while (stop < end) {
      const char* const more = skip_sequence(stop, end, encodings, bytes, size);
      if (more == nullptr) break;
      stop = more;
    }
    common &= encodings;
    segments_.push_back({static_cast<std::size_t>(at - begin), static_cast<std::size_t>(stop - begin)});
    last_end = at = stop;
  }
  if (segments_.empty()) return false;

  // All of it, if nothing outside ASCII is left over and any of it is bad.
  bool whole = common != 0;
  std::size_t from = 0;
  for (std::size_t i = 0; whole && i <= segments_.size(); ++i) {
    const std::size_t to = i < segments_.size() ? segments_[i].begin : text.size();
    for (std::size_t p = from; whole && p < to; ++p) whole = static_cast<uint8_t>(text[p]) < 0x80;
    if (i < segments_.size()) from = segments_[i].end;
  }
  whole = whole && is_bad(text);
  std::size_t copied = 0;
  bool changed = false;
  for (const Segment& segment : segments_) {
    const std::string_view stretch = text.substr(segment.begin, segment.end - segment.begin);
    if (!whole && !is_bad(stretch)) continue;
    out.append(text.substr(copied, segment.begin - copied));
    uint8_t encodings = kInLatin1 | kInWindows1252;
    for (const char* at = stretch.data(); at < stretch.data() + stretch.size();) {
      at = skip_sequence(at, stretch.data() + stretch.size(), encodings, bytes, size);
      out.append(bytes, static_cast<std::size_t>(size));
    }
    copied = segment.end;
    changed = true;
  }
  if (changed) out.append(text.substr(copied));
  return changed;
}

bool MojibakeFixer::run(std::string_view text, Buffer& out) {
  first_.clear();
  if (!fix_once(text, first_)) return false;
  // Misread more than once: each reading back shortens the text, so this ends.
  for (;;) {
    second_.clear();
    if (!fix_once(first_.view(), second_)) break;
    std::swap(first_, second_);
  }
  out.append(first_.view());
  return true;
}

}  // namespace smolfast::text
