// A hash of bytes whose seed is drawn anew in each process. What it finds equal is compared byte by byte, so that no
// collision changes a result; and nobody can write a document of colliding lines, so that none takes longer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/fold.h"

namespace smolfast {

struct HashSeed {
  uint64_t a;
  uint64_t b;
};
// Drawn once a process.
HashSeed draw_hash_seed();

// In the manner of wyhash. Of up to sixteen bytes, given as two words with zeros behind them.
inline uint64_t hash_short(uint64_t low, uint64_t high, std::size_t size, HashSeed seed) {
  return fold(low ^ seed.a, (high ^ seed.b) + size);
}

// Up to sixteen bytes as two words with zeros behind them; reads nothing outside them.
inline void load_short(std::string_view bytes, uint64_t& low, uint64_t& high) {
  const char* at = bytes.data();
  const std::size_t size = bytes.size();
  low = high = 0;
  if (size > 8) {
    low = load64(at);
    high = load64(at + size - 8) >> (8 * (16 - size));
  } else if (size >= 4) {
    uint32_t first;
    uint32_t last;
    std::memcpy(&first, at, 4);
    std::memcpy(&last, at + size - 4, 4);
    low = first | static_cast<uint64_t>(last) << (8 * (size - 4));
  } else {
    for (std::size_t i = 0; i < size; ++i) low |= static_cast<uint64_t>(static_cast<uint8_t>(at[i])) << (8 * i);
  }
}

// Of bytes; reads nothing outside them.
inline uint64_t hash_bytes(std::string_view bytes, HashSeed seed) {
  const char* at = bytes.data();
  const std::size_t size = bytes.size();
  if (size <= 16) {
    uint64_t low;
    uint64_t high;
    load_short(bytes, low, high);
    return hash_short(low, high, size, seed);
  }
  uint64_t state = fold(load64(at) ^ seed.a, load64(at + 8) ^ seed.b ^ (size * 0x9E3779B97F4A7C15u));
  for (std::size_t done = 16; done + 16 < size; done += 16) {
    state = fold(load64(at + done) ^ state, load64(at + done + 8) ^ seed.b);
  }
  return fold(load64(at + size - 16) ^ state, load64(at + size - 8) ^ seed.b);
}

}  // namespace smolfast
