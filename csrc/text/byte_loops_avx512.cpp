#include "base/cpu.h"
#include "text/byte_loops.h"

#if defined(SMOLFAST_X86) && defined(__GNUC__)
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "text/utf8.h"

namespace smolfast::text {
namespace {

constexpr int kWidth = 64;
using Vector = __m512i;

SMOLFAST_TARGET_AVX512 inline Vector load(const char* at) {
  return _mm512_loadu_si512(at);
}
SMOLFAST_TARGET_AVX512 inline void store(char* at, Vector a) {
  _mm512_storeu_si512(at, a);
}
SMOLFAST_TARGET_AVX512 inline Vector add(Vector a, Vector b) {
  return _mm512_add_epi8(a, b);
}
SMOLFAST_TARGET_AVX512 inline Vector signed_less(Vector a, Vector b) {
  return _mm512_movm_epi8(_mm512_cmplt_epi8_mask(a, b));
}
SMOLFAST_TARGET_AVX512 inline Vector table(const uint8_t (&bytes)[16]) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}
SMOLFAST_TARGET_AVX512 inline Vector splat(int byte) {
  return _mm512_set1_epi8(static_cast<char>(byte));
}
SMOLFAST_TARGET_AVX512 inline Vector both(Vector a, Vector b) {
  return _mm512_and_si512(a, b);
}
SMOLFAST_TARGET_AVX512 inline Vector either(Vector a, Vector b) {
  return _mm512_or_si512(a, b);
}
SMOLFAST_TARGET_AVX512 inline Vector exclusive(Vector a, Vector b) {
  return _mm512_xor_si512(a, b);
}
SMOLFAST_TARGET_AVX512 inline Vector high_nibble(Vector a) {
  return both(_mm512_srli_epi16(a, 4), splat(15));
}
SMOLFAST_TARGET_AVX512 inline Vector low_nibble(Vector a) {
  return both(a, splat(15));
}
SMOLFAST_TARGET_AVX512 inline Vector shuffle(Vector bytes, Vector at) {
  return _mm512_shuffle_epi8(bytes, at);
}
SMOLFAST_TARGET_AVX512 inline Vector subtract_saturated(Vector a, Vector b) {
  return _mm512_subs_epu8(a, b);
}
SMOLFAST_TARGET_AVX512 inline uint64_t sign_mask(Vector a) {
  return _mm512_movepi8_mask(a);
}
SMOLFAST_TARGET_AVX512 inline uint64_t equal_mask(Vector a, int byte) {
  return _mm512_cmpeq_epi8_mask(a, splat(byte));
}
SMOLFAST_TARGET_AVX512 inline uint64_t nonzero_mask(Vector a) {
  return _mm512_test_epi8_mask(a, a);
}
// Each byte replaced by the one `N` before it, across from `before`.
template <int N>
SMOLFAST_TARGET_AVX512 inline Vector earlier(Vector now, Vector before) {
  const Vector shifted = _mm512_permutex2var_epi64(before, _mm512_setr_epi64(6, 7, 8, 9, 10, 11, 12, 13), now);
  return _mm512_alignr_epi8(now, shifted, 16 - N);
}

#define SMOLFAST_TARGET SMOLFAST_TARGET_AVX512
#include "text/byte_loops_vector.inl"
#undef SMOLFAST_TARGET

}  // namespace

const ScanKernels kScanAvx512 = {
    is_valid_utf8, is_valid_without_stops, find_candidates, map_case, lower_ascii, find_upper, find_unclean};

}  // namespace smolfast::text
#endif
