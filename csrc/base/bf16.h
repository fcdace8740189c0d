// fp32 and bf16 (given by its bits) as fp32, and back.
#pragma once

#include <bit>
#include <cstdint>

#include "base/vector_loops.h"

namespace smolfast {

SMOLFAST_INLINE float widen(float value) {
  return value;
}
SMOLFAST_INLINE float widen(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

SMOLFAST_INLINE void narrow(float value, float& to) {
  to = value;
}
SMOLFAST_INLINE void narrow(float value, std::uint16_t& to) {  // to the nearest, ties to even; NaN stays NaN
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  to = static_cast<std::uint16_t>((bits & 0x7FFFFFFF) > 0x7F800000 ? 0x7FC0 : rounded);
}

}  // namespace smolfast
