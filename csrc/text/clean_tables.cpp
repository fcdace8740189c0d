#include "text/clean_tables.h"

#include <algorithm>
#include <cstddef>

#include "text/clean.h"

namespace smolfast::text {
namespace {

// Bytes whose high half is `high` and whose low half has its bit in `low`; `high` may be any, too.
struct Bytes {
  uint16_t high;
  uint16_t low;
};

constexpr uint16_t kAny = 0xFFFF;

constexpr uint16_t bits(int first, int last) {
  return static_cast<uint16_t>((2u << last) - (1u << first));
}
constexpr Bytes byte(int value) {
  return {bits(value >> 4, value >> 4), bits(value & 15, value & 15)};
}
constexpr Bytes from_to(int first, int last) {
  return {bits(first >> 4, last >> 4), bits(first & 15, last & 15)};
}

// Gives each sequence of bytes the next of the eight bits.
template <std::size_t kBytes>
class Sequences {
 public:
  explicit Sequences(uint8_t (&tables)[2 * kBytes][16]) : tables_(tables) {}

  void add(const Bytes (&sequence)[kBytes]) {
    for (std::size_t i = 0; i < kBytes; ++i) {
      for (int nibble = 0; nibble < 16; ++nibble) {
        if ((sequence[i].high >> nibble & 1) != 0) tables_[2 * i][nibble] |= next_;
        if ((sequence[i].low >> nibble & 1) != 0) tables_[2 * i + 1][nibble] |= next_;
      }
    }
    next_ = static_cast<uint8_t>(next_ << 1);
  }

 private:
  uint8_t (&tables_)[2 * kBytes][16];
  uint8_t next_ = 1;
};

}  // namespace

CleanTables::CleanTables(const CleanOptions& options)
    : trailing_whitespace(options.trailing_whitespace),
      line_feeds(options.blank_lines < 0 ? 0 : static_cast<int>(std::min<int64_t>(options.blank_lines, 1)) + 1) {
  constexpr Bytes any{kAny, kAny};
  constexpr Bytes c2 = byte(0xC2), e1 = byte(0xE1), e2 = byte(0xE2), e3 = byte(0xE3), ef = byte(0xEF);
  Sequences<2> pairs(pair);
  Sequences<3> triples(triple);
  if (options.control_characters) {
    pairs.add({{bits(0, 0), static_cast<uint16_t>(kAny & ~(1u << '\t' | 1u << '\n' | 1u << '\r'))}, any});
    pairs.add({from_to(0x10, 0x1F), any});
    pairs.add({byte(0x7F), any});
    pairs.add({c2, from_to(0x80, 0x9F)});
  }
  if (options.line_endings || options.control_characters) pairs.add({byte('\r'), any});
  if (options.line_endings) {
    pairs.add({c2, byte(0x85)});
    triples.add({e2, byte(0x80), from_to(0xA8, 0xA9)});  // U+2028, U+2029
  }
  if (options.zero_width) {
    pairs.add({c2, byte(0xAD)});
    triples.add({e2, byte(0x81), byte(0xA0)});  // U+2060
    triples.add({ef, byte(0xBB), byte(0xBF)});  // U+FEFF
  }
  if (options.spaces) {
    pairs.add({c2, byte(0xA0)});
    triples.add({e1, byte(0x9A), byte(0x80)});  // U+1680
    triples.add({e3, byte(0x80), byte(0x80)});  // U+3000
    triples.add({e2, byte(0x80), byte(0xAF)});  // U+202F
    triples.add({e2, byte(0x81), byte(0x9F)});  // U+205F
  }
  if (options.spaces || options.zero_width) {
    // U+2000 to U+200A and U+200B: in one, since eight bits must do.
    triples.add({e2, byte(0x80), from_to(options.spaces ? 0x80 : 0x8B, options.zero_width ? 0x8B : 0x8A)});
  }
}

}  // namespace smolfast::text
