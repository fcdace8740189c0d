// The hashes of the native schemes: words, n-grams, whole texts. Multiply-and-fold mixing in the manner of wyhash and
// MurmurHash; every function gives the same bits on every CPU.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/fold.h"

namespace smolfast::dedup {

static_assert(std::endian::native == std::endian::little, "the hashes read little-endian words");

// SplitMix64 (Steele, Lea, Flood 2014), the source of all constants that depend on a seed.
inline uint64_t splitmix64(uint64_t& state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

inline uint64_t splitmix64_of(uint64_t seed) {
  return splitmix64(seed);
}

struct Secret {
  uint64_t a;
  uint64_t b;
  explicit Secret(uint64_t seed) : a(splitmix64(seed)), b(splitmix64(seed)) {}
};

// kByteMask[8 + n - 8·i] keeps the bytes of the i-th 8-byte load that belong to a word of n ≤ 16 bytes.
inline constexpr auto kByteMask = [] {
  struct {
    uint64_t mask[25];
  } table{};
  for (int n = -8; n <= 16; ++n) {
    table.mask[n + 8] = n <= 0 ? 0 : n >= 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * n)) - 1;
  }
  return table;
}();

// A word's hash. Words of up to 16 bytes take two whole loads: 16 bytes from the word's begin on must be readable.
inline uint64_t hash_word(const char* word, std::size_t size, const Secret& secret) {
  constexpr uint64_t kLength = 0xD6E8FEB86659FD93u;
  if (size <= 16) [[likely]] {
    const uint64_t low = load64(word) & kByteMask.mask[8 + size];
    const uint64_t high = load64(word + 8) & kByteMask.mask[size];
    return fold(low ^ secret.a, high ^ secret.b ^ (size * kLength));
  }
  uint64_t state = secret.a ^ (size * kLength);
  const char* last = word + size - 16;
  for (; word < last; word += 16) state = fold(load64(word) ^ state, load64(word + 8) ^ secret.b);
  return fold(load64(last) ^ state, load64(last + 8) ^ secret.b);
}

// Two rounds of 32 × 32 → 64-bit products with the halves crossed over: the widest multiply that every SIMD level has.
// Input: the XOR of rotated word hashes, uniform already; this breaks its linearity. Bits on average flipped by one
// input bit: 31.9 to 32.1 of 64.
inline uint64_t mix(uint64_t h) {
  uint64_t p = (h & 0xFFFFFFFFu) * 0x9E3779B1u;
  uint64_t q = (h >> 32) * 0x85EBCA77u;
  h = p ^ (q << 32 | q >> 32);
  h ^= 0x27D4EB2F165667C5u;
  p = (h & 0xFFFFFFFFu) * 0xC2B2AE3Du;
  q = (h >> 32) * 0xD35A2D97u;
  return p ^ (q << 32 | q >> 32);
}

// A whole text's 128 bits, for exact duplicates: two independent lanes.
inline std::pair<uint64_t, uint64_t> hash_text(std::string_view text) {
  const Secret secret(0x736D6F6C66617374u);
  const char* at = text.data();
  std::size_t left = text.size();
  uint64_t a = secret.a ^ left;
  uint64_t b = secret.b + left;
  for (; left >= 32; left -= 32, at += 32) {
    const uint64_t w0 = load64(at);
    const uint64_t w1 = load64(at + 8);
    const uint64_t w2 = load64(at + 16);
    const uint64_t w3 = load64(at + 24);
    a = fold(w0 ^ a, w1 ^ 0xA0761D6478BD642Fu) ^ w2;
    b = fold(w2 ^ b, w3 ^ 0xE7037ED1A0B428DBu) ^ w0;
    a = fold(a ^ w3, 0x8EBC6AF09C88C6E3u);
    b = fold(b ^ w1, 0x589965CC75374CC3u);
  }
  char tail[32] = {};
  if (left != 0) std::memcpy(tail, at, left);
  a = fold(load64(tail) ^ a, load64(tail + 8) ^ 0xA0761D6478BD642Fu) ^ load64(tail + 16);
  b = fold(load64(tail + 16) ^ b, load64(tail + 24) ^ 0xE7037ED1A0B428DBu) ^ load64(tail);
  a = fold(a ^ load64(tail + 24), 0x8EBC6AF09C88C6E3u);
  b = fold(b ^ load64(tail + 8), 0x589965CC75374CC3u);
  return {fold(a ^ secret.b, b ^ 0x1D8E4E27C47D124Fu), fold(b ^ secret.a, a ^ 0xEB44ACCAB455D165u)};
}

}  // namespace smolfast::dedup
