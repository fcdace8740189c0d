#include "base/cpu.h"
#include "text/byte_loops.h"

#if defined(SMOLFAST_X86) && defined(__GNUC__)
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "text/utf8.h"

namespace smolfast::text {
namespace {

constexpr int kWidth = 32;
using Vector = __m256i;

SMOLFAST_TARGET_AVX2 inline Vector load(const char* at) {
  return _mm256_loadu_si256(reinterpret_cast<const Vector*>(at));
}
SMOLFAST_TARGET_AVX2 inline void store(char* at, Vector a) {
  _mm256_storeu_si256(reinterpret_cast<Vector*>(at), a);
}
SMOLFAST_TARGET_AVX2 inline Vector add(Vector a, Vector b) {
  return _mm256_add_epi8(a, b);
}
SMOLFAST_TARGET_AVX2 inline Vector signed_less(Vector a, Vector b) {
  return _mm256_cmpgt_epi8(b, a);
}
SMOLFAST_TARGET_AVX2 inline Vector table(const uint8_t (&bytes)[16]) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}
SMOLFAST_TARGET_AVX2 inline Vector splat(int byte) {
  return _mm256_set1_epi8(static_cast<char>(byte));
}
SMOLFAST_TARGET_AVX2 inline Vector both(Vector a, Vector b) {
  return _mm256_and_si256(a, b);
}
SMOLFAST_TARGET_AVX2 inline Vector either(Vector a, Vector b) {
  return _mm256_or_si256(a, b);
}
SMOLFAST_TARGET_AVX2 inline Vector exclusive(Vector a, Vector b) {
  return _mm256_xor_si256(a, b);
}
SMOLFAST_TARGET_AVX2 inline Vector high_nibble(Vector a) {
  return both(_mm256_srli_epi16(a, 4), splat(15));
}
SMOLFAST_TARGET_AVX2 inline Vector low_nibble(Vector a) {
  return both(a, splat(15));
}
SMOLFAST_TARGET_AVX2 inline Vector shuffle(Vector bytes, Vector at) {
  return _mm256_shuffle_epi8(bytes, at);
}
SMOLFAST_TARGET_AVX2 inline Vector subtract_saturated(Vector a, Vector b) {
  return _mm256_subs_epu8(a, b);
}
SMOLFAST_TARGET_AVX2 inline uint64_t sign_mask(Vector a) {
  return static_cast<uint32_t>(_mm256_movemask_epi8(a));
}
SMOLFAST_TARGET_AVX2 inline uint64_t equal_mask(Vector a, int byte) {
  return sign_mask(_mm256_cmpeq_epi8(a, splat(byte)));
}
SMOLFAST_TARGET_AVX2 inline uint64_t nonzero_mask(Vector a) {
  return static_cast<uint32_t>(~_mm256_movemask_epi8(_mm256_cmpeq_epi8(a, _mm256_setzero_si256())));
}
// Each byte replaced by the one `N` before it, across from `before`.
template <int N>
SMOLFAST_TARGET_AVX2 inline Vector earlier(Vector now, Vector before) {
  return _mm256_alignr_epi8(now, _mm256_permute2x128_si256(before, now, 0x21), 16 - N);
}

#define SMOLFAST_TARGET SMOLFAST_TARGET_AVX2
#include "text/byte_loops_vector.inl"
#undef SMOLFAST_TARGET

}  // namespace

const ScanKernels kScanAvx2 = {
    is_valid_utf8, is_valid_without_stops, find_candidates, map_case, lower_ascii, find_upper, find_unclean};

}  // namespace smolfast::text
#endif
