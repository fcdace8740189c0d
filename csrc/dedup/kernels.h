// The inner loops from word hashes to sketches. One body each, compiled for every instruction set the compiler can
// vectorise it for, so that all give the same bits; kernels() is the table for the one in use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "dedup/hash.h"
#include "text/unicode_words.h"

namespace smolfast::dedup {

inline constexpr std::size_t kChooseLanes = 16;

struct Kernels {
  // out[i] = the hash of words[i], a byte range of `text`. Ranges ascend.
  void (*hash_words)(std::string_view text, const text::Word* words, std::size_t count, Secret secret, uint64_t* out);
  // out[i] = the hash of the n-gram of words[i … i + ngram), for i < count. Whole vectors are fastest: round count up
  // to a multiple of 8 where the buffers allow it.
  void (*ngrams)(const uint64_t* words, std::size_t count, int ngram, uint64_t* out);
  // Each hash's high half chooses one of `size` buckets, which keep their least low half.
  void (*scatter)(const uint64_t* hashes, std::size_t count, uint32_t size, uint32_t* buckets);
  // values[k] = minima[k] where values[k] is the greatest value.
  void (*fill)(const uint32_t* minima, std::size_t size, uint32_t* values);
  // minima[k] = min(minima[k], a[k]·h + b[k] mod 2³²) over the hashes.
  void (*affine32)(const uint32_t* hashes, std::size_t count, const uint32_t* a, const uint32_t* b, std::size_t size,
                   uint32_t* minima);
  // minima[k] = the least permuted half of the hashes, low halves for even k and high ones for odd. The upper and the
  // lower 16 bits of a half are multiplied apart, mod 2¹⁶, by those of a[k]. `size` is a multiple of kChooseLanes.
  void (*choose)(const uint64_t* hashes, std::size_t count, const uint32_t* a, std::size_t size, uint32_t* minima);
  // minima[k] = min(minima[k], (a[k]·h + b[k] mod 2⁶⁴) mod 2⁶¹−1) over the hashes.
  void (*mersenne61)(const uint64_t* hashes, std::size_t count, const uint64_t* a, const uint64_t* b, std::size_t size,
                     uint64_t* minima);
};

const Kernels& kernels();

}  // namespace smolfast::dedup
