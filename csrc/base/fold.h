// The step that the hashes are made of: a product of two words folded to one, as in wyhash.
#pragma once

#include <cstdint>
#include <cstring>

namespace smolfast {

inline uint64_t load64(const char* at) {
  uint64_t value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

// The 128-bit product folded to 64 bits.
inline uint64_t fold(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = Wide{a} * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace smolfast
