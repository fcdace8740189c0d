// Words as Python's str.split() gives them: what stands between white space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace smolfast::text {

// How far a text has been read.
struct SpacedPosition {
  std::size_t at = 0;   // bytes
  uint64_t before = 1;  // 1 if the last one was of a separator, or there was none
  uint64_t carry = 0;   // bytes of the next block that belong to a separator begun in the last one
};

// Writes where words begin and end, in turn, from a position on, and moves it; returns how many bounds it wrote. It
// stops at the text's end, where it ends the last word, or when there is no room for another kSpacedBlockBounds, which
// may be within a word: its begin is written, its end comes first the next time.
inline constexpr std::size_t kSpacedBlockBounds = 65;
std::size_t scan_spaced_words(std::string_view text, SpacedPosition& position, uint32_t* bounds, std::size_t capacity);

}  // namespace smolfast::text
