#include "base/cpu.h"
#include "text/simplify_ascii.h"

#if defined(SMOLFAST_X86) && defined(__GNUC__)
#include <immintrin.h>

#include <array>

namespace smolfast::text {
namespace {

// For each set of eight bytes to keep, where the kept ones come from.
constexpr auto kSqueeze = [] {
  std::array<std::array<uint8_t, 8>, 256> from{};
  for (unsigned kept = 0; kept < 256; ++kept) {
    unsigned n = 0;
    for (unsigned bit = 0; bit < 8; ++bit) {
      if ((kept >> bit & 1) != 0) from[kept][n++] = static_cast<uint8_t>(bit);
    }
  }
  return from;
}();

SMOLFAST_TARGET_AVX2 inline __m256i table(const uint8_t (&bytes)[16]) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}

// 0xFF where the byte, whose bit its high half names, is in the set.
SMOLFAST_TARGET_AVX2 inline __m256i members(__m256i set, __m256i low, __m256i bit) {
  return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(set, low), bit), bit);
}

SMOLFAST_TARGET_AVX2 inline uint32_t mask(__m256i bytes) {
  return static_cast<uint32_t>(_mm256_movemask_epi8(bytes));
}

SMOLFAST_TARGET_AVX2 inline char* squeeze(uint64_t eight, uint32_t kept, char* to) {
  const __m128i from = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kSqueeze[kept & 0xFF].data()));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to),
                   _mm_shuffle_epi8(_mm_cvtsi64_si128(static_cast<int64_t>(eight)), from));
  return to + __builtin_popcount(kept & 0xFF);
}

}  // namespace

SMOLFAST_TARGET_AVX2 char* simplify_ascii_avx2(const AsciiRules& rules, const char*& at, const char* end, char* to,
                                               unsigned& after_space) {
  constexpr int kWidth = 32;
  const __m256i capitals = table(rules.capitals), blanks = table(rules.blanks);
  const __m256i spaces_set = table(rules.spaces), stops_set = table(rules.stops);
  const __m256i bits =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, -1, -1, -1, -1, -1, -1, -1, -1));
  const __m256i halves = _mm256_set1_epi8(15);
  const char* p = at;
  uint32_t after = after_space;
  while (end - p >= kWidth) {
    const __m256i block = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i low = _mm256_and_si256(block, halves);
    const __m256i bit = _mm256_shuffle_epi8(bits, _mm256_and_si256(_mm256_srli_epi16(block, 4), halves));
    const uint32_t stops = mask(_mm256_or_si256(block, members(stops_set, low, bit)));
    const uint32_t done = stops == 0 ? ~uint32_t{0} : (stops & -stops) - 1;
    const uint32_t spaces = done & mask(members(spaces_set, low, bit));
    const uint32_t kept = done & ~(spaces & (spaces << 1 | after));
    const __m256i small = _mm256_or_si256(block, _mm256_and_si256(members(capitals, low, bit), _mm256_set1_epi8(0x20)));
    const __m256i mapped = _mm256_blendv_epi8(small, _mm256_set1_epi8(' '), members(blanks, low, bit));
    to = squeeze(static_cast<uint64_t>(_mm256_extract_epi64(mapped, 0)), kept, to);
    to = squeeze(static_cast<uint64_t>(_mm256_extract_epi64(mapped, 1)), kept >> 8, to);
    to = squeeze(static_cast<uint64_t>(_mm256_extract_epi64(mapped, 2)), kept >> 16, to);
    to = squeeze(static_cast<uint64_t>(_mm256_extract_epi64(mapped, 3)), kept >> 24, to);
    if (done == 0) break;
    const int count = 32 - __builtin_clz(done);
    after = spaces >> (count - 1) & 1;
    p += count;
    if (stops != 0) break;
  }
  at = p;
  after_space = after;
  // The rest, or nothing where a stop came.
  return end - p < kWidth ? simplify_ascii_baseline(rules, at, end, to, after_space) : to;
}

}  // namespace smolfast::text
#endif
