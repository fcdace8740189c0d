#include "dedup/kernels.h"

#include <algorithm>

#include "base/cpu.h"
#include "dedup/hash.h"

namespace smolfast::dedup {
namespace {

#if defined(__GNUC__)
#define SMOLFAST_BODY static inline __attribute__((always_inline))
#else
#define SMOLFAST_BODY static inline
#endif

// Makes the compiler compute x, rather than branch around its use.
#if defined(__GNUC__)
#define SMOLFAST_KEEP(x) __asm__("" : "+r"(x))
#else
#define SMOLFAST_KEEP(x) static_cast<void>(x)
#endif

// Word j of an n-gram is rotated by 13·(n − 1 − j) bits: 13 is odd, so that the n ≤ 64 rotations differ.
constexpr int kRotation = 13;

SMOLFAST_BODY uint64_t rotate(uint64_t x, unsigned bits) {
  return x << (bits & 63) | x >> (-bits & 63);
}

SMOLFAST_BODY void ngrams5(const uint64_t* __restrict words, std::size_t count, uint64_t* __restrict out) {
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = mix(rotate(words[i], 4 * kRotation) ^ rotate(words[i + 1], 3 * kRotation) ^
                 rotate(words[i + 2], 2 * kRotation) ^ rotate(words[i + 3], kRotation) ^ words[i + 4]);
  }
}

SMOLFAST_BODY void ngrams_body(const uint64_t* __restrict words, std::size_t count, int ngram,
                               uint64_t* __restrict out) {
  if (ngram == 5) return ngrams5(words, count, out);
  for (std::size_t i = 0; i < count; ++i) out[i] = words[i + static_cast<std::size_t>(ngram) - 1];
  for (int j = 1; j < ngram; ++j) {
    const unsigned bits = static_cast<unsigned>(kRotation * j) & 63;
    const uint64_t* from = words + (ngram - 1 - j);
    for (std::size_t i = 0; i < count; ++i) out[i] ^= rotate(from[i], bits);
  }
  for (std::size_t i = 0; i < count; ++i) out[i] = mix(out[i]);
}

constexpr std::size_t kBlock = 256;

SMOLFAST_BODY uint64_t round_hash(uint64_t shingle, uint32_t round) {
  return mix(shingle + round * 0x9E3779B97F4A7C15u);
}

SMOLFAST_BODY void fast_round_body(const uint64_t* __restrict shingles, std::size_t count, uint32_t round,
                                   uint32_t size, uint64_t* __restrict buckets) {
  const uint64_t rank = uint64_t{round} << 32;
  uint64_t bucket[kBlock];
  uint64_t key[kBlock];
  for (std::size_t start = 0; start < count; start += kBlock) {
    const std::size_t n = std::min(kBlock, count - start);
    if (round == 0) {
      for (std::size_t i = 0; i < n; ++i) {
        const uint64_t h = shingles[start + i];
        bucket[i] = ((h >> 32) * size) >> 32;
        key[i] = h & 0xFFFFFFFFu;
      }
    } else {
      for (std::size_t i = 0; i < n; ++i) {
        const uint64_t h = round_hash(shingles[start + i], round);
        bucket[i] = ((h >> 32) * size) >> 32;
        key[i] = rank | (h & 0xFFFFFFFFu);
      }
    }
    // Without a branch: in short documents, whether a key is the least so far can't be predicted (a branch costs 40 %
    // of the time there; in long documents both take the same).
    for (std::size_t i = 0; i < n; ++i) {
      uint64_t* slot = buckets + bucket[i];
      const uint64_t held = *slot;
      uint64_t less = -static_cast<uint64_t>(key[i] < held);
      SMOLFAST_KEEP(less);
      *slot = held ^ ((held ^ key[i]) & less);
    }
  }
}

SMOLFAST_BODY void round_hashes_body(const uint64_t* __restrict shingles, std::size_t count, uint32_t round,
                                     uint32_t* __restrict out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<uint32_t>(round_hash(shingles[i], round));
}

SMOLFAST_BODY void affine32_body(const uint32_t* __restrict hashes, std::size_t count, const uint32_t* __restrict a,
                                 const uint32_t* __restrict b, std::size_t size, uint32_t* __restrict minima) {
  constexpr std::size_t kTile = 32;
  std::size_t k = 0;
  for (; k + kTile <= size; k += kTile) {
    uint32_t least[kTile];
    for (std::size_t j = 0; j < kTile; ++j) least[j] = minima[k + j];
    for (std::size_t i = 0; i < count; ++i) {
      const uint32_t h = hashes[i];
      for (std::size_t j = 0; j < kTile; ++j) least[j] = std::min(least[j], a[k + j] * h + b[k + j]);
    }
    for (std::size_t j = 0; j < kTile; ++j) minima[k + j] = least[j];
  }
  for (; k + 8 <= size; k += 8) {
    uint32_t least[8];
    for (std::size_t j = 0; j < 8; ++j) least[j] = minima[k + j];
    for (std::size_t i = 0; i < count; ++i) {
      const uint32_t h = hashes[i];
      for (std::size_t j = 0; j < 8; ++j) least[j] = std::min(least[j], a[k + j] * h + b[k + j]);
    }
    for (std::size_t j = 0; j < 8; ++j) minima[k + j] = least[j];
  }
  for (; k < size; ++k) {
    uint32_t least = minima[k];
    for (std::size_t i = 0; i < count; ++i) least = std::min(least, a[k] * hashes[i] + b[k]);
    minima[k] = least;
  }
}

SMOLFAST_BODY uint64_t mod_mersenne61(uint64_t x) {
  constexpr uint64_t kPrime = (uint64_t{1} << 61) - 1;
  x = (x & kPrime) + (x >> 61);
  return x >= kPrime ? x - kPrime : x;
}

SMOLFAST_BODY void mersenne61_body(const uint64_t* __restrict hashes, std::size_t count, const uint64_t* __restrict a,
                                   const uint64_t* __restrict b, std::size_t size, uint64_t* __restrict minima) {
  for (std::size_t i = 0; i < count; ++i) {
    const uint64_t h = hashes[i];
    for (std::size_t k = 0; k < size; ++k) minima[k] = std::min(minima[k], mod_mersenne61(a[k] * h + b[k]));
  }
}

#define SMOLFAST_DEDUP_KERNELS(suffix, target)                                                                     \
  target void ngrams_##suffix(const uint64_t* words, std::size_t count, int ngram, uint64_t* out) {                \
    ngrams_body(words, count, ngram, out);                                                                         \
  }                                                                                                                \
  target void fast_round_##suffix(const uint64_t* shingles, std::size_t count, uint32_t round, uint32_t size,      \
                                  uint64_t* buckets) {                                                             \
    fast_round_body(shingles, count, round, size, buckets);                                                        \
  }                                                                                                                \
  target void round_hashes_##suffix(const uint64_t* shingles, std::size_t count, uint32_t round, uint32_t* out) {  \
    round_hashes_body(shingles, count, round, out);                                                                \
  }                                                                                                                \
  target void affine32_##suffix(const uint32_t* hashes, std::size_t count, const uint32_t* a, const uint32_t* b,   \
                                std::size_t size, uint32_t* minima) {                                              \
    affine32_body(hashes, count, a, b, size, minima);                                                              \
  }                                                                                                                \
  target void mersenne61_##suffix(const uint64_t* hashes, std::size_t count, const uint64_t* a, const uint64_t* b, \
                                  std::size_t size, uint64_t* minima) {                                            \
    mersenne61_body(hashes, count, a, b, size, minima);                                                            \
  }                                                                                                                \
  constexpr Kernels k_##suffix{ngrams_##suffix, fast_round_##suffix, round_hashes_##suffix, affine32_##suffix,     \
                               mersenne61_##suffix};

SMOLFAST_DEDUP_KERNELS(baseline, )
#if defined(SMOLFAST_X86)
SMOLFAST_DEDUP_KERNELS(avx2, SMOLFAST_TARGET_AVX2)
SMOLFAST_DEDUP_KERNELS(avx512, SMOLFAST_TARGET_AVX512)
#endif

}  // namespace

const Kernels& kernels() {
#if defined(SMOLFAST_X86)
  if (active_isa() == Isa::kAvx512) return k_avx512;
  if (active_isa() == Isa::kAvx2) return k_avx2;
#endif
  return k_baseline;
}

}  // namespace smolfast::dedup
