// Numbers drawn by counting, so that any of them can be had without those before.
#pragma once

#include <cstdint>

namespace smolfast::fasttext {

// A counter, mixed: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014).
inline uint64_t mixed(uint64_t counter) {
  uint64_t x = (counter + 1) * 0x9E3779B97F4A7C15u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

// From 0 to below 1.
inline double unit(uint64_t drawn) {
  return static_cast<double>(drawn >> 11) * 0x1p-53;
}

}  // namespace smolfast::fasttext
