// Which bytes of a vector are one character, or one of a range: vectors of bits for SSE2 and AVX2, masks for AVX-512.
#pragma once

#include <cstdint>

#include "base/cpu.h"

#if defined(SMOLFAST_X86)
#include <immintrin.h>

namespace smolfast::text {

inline __m128i bytes_equal(__m128i x, char c) {
  return _mm_cmpeq_epi8(x, _mm_set1_epi8(c));
}
SMOLFAST_TARGET_AVX2 inline __m256i bytes_equal(__m256i x, char c) {
  return _mm256_cmpeq_epi8(x, _mm256_set1_epi8(c));
}
SMOLFAST_TARGET_AVX512 inline uint64_t bytes_equal(__m512i x, char c) {
  return _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8(c));
}

// From `low` to `low` + `span`.
inline __m128i bytes_between(__m128i x, char low, char span) {
  const __m128i offset = _mm_sub_epi8(x, _mm_set1_epi8(low));
  return _mm_cmpeq_epi8(_mm_min_epu8(offset, _mm_set1_epi8(span)), offset);
}
SMOLFAST_TARGET_AVX2 inline __m256i bytes_between(__m256i x, char low, char span) {
  const __m256i offset = _mm256_sub_epi8(x, _mm256_set1_epi8(low));
  return _mm256_cmpeq_epi8(_mm256_min_epu8(offset, _mm256_set1_epi8(span)), offset);
}
SMOLFAST_TARGET_AVX512 inline uint64_t bytes_between(__m512i x, char low, char span) {
  return _mm512_cmple_epu8_mask(_mm512_sub_epi8(x, _mm512_set1_epi8(low)), _mm512_set1_epi8(span));
}

// Bits of either vector.
inline __m128i bytes_either(__m128i x, __m128i y) {
  return _mm_or_si128(x, y);
}
SMOLFAST_TARGET_AVX2 inline __m256i bytes_either(__m256i x, __m256i y) {
  return _mm256_or_si256(x, y);
}

// Every byte with the bits of c set, or with no others.
inline __m128i bytes_with(__m128i x, char c) {
  return _mm_or_si128(x, _mm_set1_epi8(c));
}
SMOLFAST_TARGET_AVX2 inline __m256i bytes_with(__m256i x, char c) {
  return _mm256_or_si256(x, _mm256_set1_epi8(c));
}
inline __m128i bytes_within(__m128i x, char c) {
  return _mm_and_si128(x, _mm_set1_epi8(c));
}
SMOLFAST_TARGET_AVX2 inline __m256i bytes_within(__m256i x, char c) {
  return _mm256_and_si256(x, _mm256_set1_epi8(c));
}

// The bits of a block's part i, at their place in its mask.
inline uint64_t block_mask(__m128i bits, int i) {
  return uint64_t{static_cast<uint32_t>(_mm_movemask_epi8(bits))} << (16 * i);
}
SMOLFAST_TARGET_AVX2 inline uint64_t block_mask(__m256i bits, int i) {
  return uint64_t{static_cast<uint32_t>(_mm256_movemask_epi8(bits))} << (32 * i);
}

}  // namespace smolfast::text
#endif
