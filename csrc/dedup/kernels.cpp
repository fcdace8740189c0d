#include "dedup/kernels.h"

#include <algorithm>
#include <cstring>

#include "base/cpu.h"

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

// Compiled for each set because of BMI2's product, which leaves its factors alone.
SMOLFAST_BODY void hash_words_body(std::string_view text, const text::Word* __restrict words, std::size_t count,
                                   Secret secret, uint64_t* __restrict out) {
  std::size_t whole = count;  // words with 16 readable bytes
  while (whole > 0 && text.size() - words[whole - 1].begin < 16) --whole;
  for (std::size_t i = 0; i < whole; ++i) {
    out[i] = hash_word(text.data() + words[i].begin, words[i].end - words[i].begin, secret);
  }
  if (whole == count) return;
  // The others are read from a copy of the text's last bytes, with zeros behind.
  char tail[32] = {};
  std::size_t base = 0;
  if (text.size() >= 16) {
    base = text.size() - 16;
    std::memcpy(tail, text.data() + base, 16);
  } else {
    std::memcpy(tail, text.data(), text.size());
  }
  for (std::size_t i = whole; i < count; ++i) {
    out[i] = hash_word(tail + (words[i].begin - base), words[i].end - words[i].begin, secret);
  }
}

// Word j of an n-gram is rotated by 13·(n − 1 − j) bits: 13 is odd, so that the n ≤ 64 rotations differ. Equal words
// cancel some of each other's bits, however: a sum of n = 2, 8, 32 or 64 rotations of one word keeps 63, 57, 33 or 1.
// So there is a mixing after every kWordsPerMix words.
constexpr int kRotation = 13;
constexpr int kWordsPerMix = 8;

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
    if (j % kWordsPerMix == 0) {
      for (std::size_t i = 0; i < count; ++i) out[i] = mix(out[i]);
    }
    const unsigned bits = static_cast<unsigned>(kRotation * j) & 63;
    const uint64_t* from = words + (ngram - 1 - j);
    for (std::size_t i = 0; i < count; ++i) out[i] ^= rotate(from[i], bits);
  }
  for (std::size_t i = 0; i < count; ++i) out[i] = mix(out[i]);
}

SMOLFAST_BODY void scatter_body(const uint64_t* __restrict hashes, std::size_t count, uint32_t size,
                                uint32_t* __restrict buckets) {
  constexpr std::size_t kRun = 256;
  uint32_t slots[kRun];
  for (std::size_t first = 0; first < count; first += kRun) {
    // The products apart, in vectors.
    const std::size_t run = std::min(kRun, count - first);
    const uint64_t* from = hashes + first;
    for (std::size_t i = 0; i < run; ++i) slots[i] = static_cast<uint32_t>(((from[i] >> 32) * size) >> 32);
    for (std::size_t i = 0; i < run; ++i) {
      const auto value = static_cast<uint32_t>(from[i]);
      uint32_t* slot = buckets + slots[i];
      // Without a branch: in short documents, whether a value is the least so far can't be predicted (a branch costs
      // 40 % of the time there; in long documents both take the same).
      uint32_t least = std::min(*slot, value);
      SMOLFAST_KEEP(least);
      *slot = least;
    }
  }
}

SMOLFAST_BODY void fill_body(const uint32_t* __restrict minima, std::size_t size, uint32_t* __restrict values) {
  for (std::size_t k = 0; k < size; ++k) values[k] = values[k] != 0xFFFFFFFFu ? values[k] : minima[k];
}

// The first permutations that come in whole tiles, and what is left of `size` by smaller ones.
template <std::size_t kTile>
SMOLFAST_BODY std::size_t affine32_tiles(const uint32_t* __restrict hashes, std::size_t count,
                                         const uint32_t* __restrict a, const uint32_t* __restrict b, std::size_t size,
                                         uint32_t* __restrict minima, std::size_t k) {
  for (; k + kTile <= size; k += kTile) {
    uint32_t least[kTile];
    for (std::size_t j = 0; j < kTile; ++j) least[j] = minima[k + j];
    for (std::size_t i = 0; i < count; ++i) {
      const uint32_t h = hashes[i];
      for (std::size_t j = 0; j < kTile; ++j) least[j] = std::min(least[j], a[k + j] * h + b[k + j]);
    }
    for (std::size_t j = 0; j < kTile; ++j) minima[k + j] = least[j];
  }
  return k;
}

SMOLFAST_BODY void affine32_body(const uint32_t* __restrict hashes, std::size_t count, const uint32_t* __restrict a,
                                 const uint32_t* __restrict b, std::size_t size, uint32_t* __restrict minima) {
  std::size_t k = affine32_tiles<32>(hashes, count, a, b, size, minima, 0);
  k = affine32_tiles<8>(hashes, count, a, b, size, minima, k);
  affine32_tiles<1>(hashes, count, a, b, size, minima, k);
}

// kVectors vectors of permutations stay in registers over the whole run of hashes.
template <int kBytes, std::size_t kVectors>
SMOLFAST_BODY void choose_tile(const uint64_t* __restrict hashes, std::size_t count, const uint32_t* __restrict a,
                               uint32_t* __restrict minima) {
  typedef uint16_t Products __attribute__((vector_size(kBytes)));
  typedef uint32_t Values __attribute__((vector_size(kBytes)));
  typedef uint64_t Hashes __attribute__((vector_size(kBytes)));
  Products factor[kVectors];
  Values least[kVectors];
  std::memcpy(factor, a, sizeof(factor));
  std::memset(least, 0xFF, sizeof(least));
  for (std::size_t i = 0; i < count; ++i) {
    const Products h = reinterpret_cast<Products>(Hashes{} + hashes[i]);
    for (std::size_t v = 0; v < kVectors; ++v) {
      const Values value = reinterpret_cast<Values>(factor[v] * h);
      least[v] = value < least[v] ? value : least[v];
    }
  }
  std::memcpy(minima, least, sizeof(least));
}

template <int kBytes>
SMOLFAST_BODY void choose_body(const uint64_t* __restrict hashes, std::size_t count, const uint32_t* __restrict a,
                               std::size_t size, uint32_t* __restrict minima) {
  constexpr std::size_t kLanes = kBytes / sizeof(uint32_t);
  std::size_t k = 0;
  for (; k + 4 * kLanes <= size; k += 4 * kLanes) choose_tile<kBytes, 4>(hashes, count, a + k, minima + k);
  switch ((size - k) / kLanes) {
    case 3:
      return choose_tile<kBytes, 3>(hashes, count, a + k, minima + k);
    case 2:
      return choose_tile<kBytes, 2>(hashes, count, a + k, minima + k);
    case 1:
      return choose_tile<kBytes, 1>(hashes, count, a + k, minima + k);
    default:
      return;
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

#define SMOLFAST_DEDUP_KERNELS(suffix, target, bytes)                                                               \
  target void hash_words_##suffix(std::string_view text, const text::Word* words, std::size_t count, Secret secret, \
                                  uint64_t* out) {                                                                  \
    hash_words_body(text, words, count, secret, out);                                                               \
  }                                                                                                                 \
  target void ngrams_##suffix(const uint64_t* words, std::size_t count, int ngram, uint64_t* out) {                 \
    ngrams_body(words, count, ngram, out);                                                                          \
  }                                                                                                                 \
  target void scatter_##suffix(const uint64_t* hashes, std::size_t count, uint32_t size, uint32_t* buckets) {       \
    scatter_body(hashes, count, size, buckets);                                                                     \
  }                                                                                                                 \
  target void fill_##suffix(const uint32_t* minima, std::size_t size, uint32_t* values) {                           \
    fill_body(minima, size, values);                                                                                \
  }                                                                                                                 \
  target void affine32_##suffix(const uint32_t* hashes, std::size_t count, const uint32_t* a, const uint32_t* b,    \
                                std::size_t size, uint32_t* minima) {                                               \
    affine32_body(hashes, count, a, b, size, minima);                                                               \
  }                                                                                                                 \
  target void choose_##suffix(const uint64_t* hashes, std::size_t count, const uint32_t* a, std::size_t size,       \
                              uint32_t* minima) {                                                                   \
    choose_body<bytes>(hashes, count, a, size, minima);                                                             \
  }                                                                                                                 \
  target void mersenne61_##suffix(const uint64_t* hashes, std::size_t count, const uint64_t* a, const uint64_t* b,  \
                                  std::size_t size, uint64_t* minima) {                                             \
    mersenne61_body(hashes, count, a, b, size, minima);                                                             \
  }                                                                                                                 \
  constexpr Kernels k_##suffix{hash_words_##suffix, ngrams_##suffix, scatter_##suffix,   fill_##suffix,             \
                               affine32_##suffix,   choose_##suffix, mersenne61_##suffix};

SMOLFAST_DEDUP_KERNELS(baseline, , 16)
#if defined(SMOLFAST_X86)
SMOLFAST_DEDUP_KERNELS(avx2, SMOLFAST_TARGET_AVX2, 32)
SMOLFAST_DEDUP_KERNELS(avx512, SMOLFAST_TARGET_AVX512, 64)
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
