#include "base/cpu.h"
#include "text/simplify_ascii.h"

#if defined(SMOLFAST_X86) && defined(__GNUC__)
#include <immintrin.h>

#define SMOLFAST_TARGET_VBMI2 \
  __attribute__((target("avx512vbmi2,avx512vbmi,avx512f,avx512bw,avx512vl,avx512dq,avx2,bmi,bmi2,lzcnt,popcnt")))

namespace smolfast::text {

SMOLFAST_TARGET_VBMI2 char* simplify_ascii_vbmi2(const AsciiRules& rules, const char*& at, const char* end, char* to,
                                                 unsigned& after_space) {
  const __m512i mapped_low = _mm512_loadu_si512(rules.mapped), mapped_high = _mm512_loadu_si512(rules.mapped + 64);
  const __m512i action_low = _mm512_loadu_si512(rules.actions), action_high = _mm512_loadu_si512(rules.actions + 64);
  const char* p = at;
  uint64_t after = after_space;
  while (p < end) {
    const auto left = static_cast<uint64_t>(end - p);
    const uint64_t valid = left < 64 ? (uint64_t{1} << left) - 1 : ~uint64_t{0};
    const __m512i block = _mm512_maskz_loadu_epi8(valid, p);
    const __m512i action = _mm512_permutex2var_epi8(action_low, block, action_high);
    const uint64_t stops =
        _mm512_movepi8_mask(block) | ~valid | _mm512_cmpgt_epu8_mask(action, _mm512_set1_epi8(AsciiRules::kSpace));
    const uint64_t done = stops == 0 ? ~uint64_t{0} : (stops & -stops) - 1;
    const uint64_t spaces = done & _mm512_cmpeq_epi8_mask(action, _mm512_set1_epi8(AsciiRules::kSpace));
    const uint64_t kept = done & ~(spaces & (spaces << 1 | after));
    const __m512i mapped = _mm512_permutex2var_epi8(mapped_low, block, mapped_high);
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi8(kept, mapped));
    to += __builtin_popcountll(kept);
    if (done == 0) break;
    const int count = 64 - __builtin_clzll(done);
    after = spaces >> (count - 1) & 1;
    p += count;
    if (stops != 0) break;
  }
  at = p;
  after_space = static_cast<unsigned>(after);
  return to;
}

}  // namespace smolfast::text
#endif
