// A hash of bytes whose seed is drawn anew in each process. What it finds equal is compared byte by byte, so that no
// collision changes a decision; and nobody can write a document of colliding lines, so that none takes longer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace smolfast::filters {

struct HashSeed {
  uint64_t a;
  uint64_t b;
};
// Drawn once a process.
HashSeed draw_hash_seed();

inline uint64_t fold(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t load64(const char* at) {
  uint64_t value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

inline uint64_t load32(const char* at) {
  uint32_t value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

// In the manner of wyhash; reads nothing outside the bytes.
inline uint64_t hash_bytes(std::string_view bytes, HashSeed seed) {
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  uint64_t state = seed.a ^ (left * 0x9E3779B97F4A7C15u);
  for (; left > 16; left -= 16, at += 16) state = fold(load64(at) ^ state, load64(at + 8) ^ seed.b);
  uint64_t low = 0;
  uint64_t high = 0;
  if (left >= 8) {
    low = load64(at);
    high = load64(at + left - 8);
  } else if (left >= 4) {
    low = load32(at);
    high = load32(at + left - 4);
  } else if (left > 0) {
    low = static_cast<uint64_t>(static_cast<uint8_t>(at[0])) << 16 |
          static_cast<uint64_t>(static_cast<uint8_t>(at[left / 2])) << 8 | static_cast<uint8_t>(at[left - 1]);
  }
  return fold(fold(low ^ state, high ^ seed.b), seed.a ^ 0xA0761D6478BD642Fu);
}

}  // namespace smolfast::filters
