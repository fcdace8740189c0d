// Blocks of 64 bytes, whose classes are masks of a bit a byte.
#pragma once

#include <cstddef>
#include <cstring>

namespace smolfast::text {

// A block's 64 bytes, in `copy` with spaces behind them where the text ends.
inline const char* whole_block(const char* at, std::size_t left, char* copy) {
  if (left >= 64) return at;
  std::memset(copy, ' ', 64);
  std::memcpy(copy, at, left);
  return copy;
}

// 0 to 63: a mask's positions, once what it leaves out is squeezed out of them.
struct BlockPositions {
  alignas(64) char at[64];
};
inline constexpr BlockPositions kBlockPositions = [] {
  BlockPositions positions{};
  for (int i = 0; i < 64; ++i) positions.at[i] = static_cast<char>(i);
  return positions;
}();

}  // namespace smolfast::text
