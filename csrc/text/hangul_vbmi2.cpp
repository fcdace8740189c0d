#include "base/cpu.h"
#include "text/hangul.h"

#if defined(SMOLFAST_X86) && defined(__GNUC__)
#include <immintrin.h>

#include "text/bytes.h"

namespace smolfast::text {
namespace {

SMOLFAST_TARGET_VBMI2 inline __m512i splat(int byte) {
  return _mm512_set1_epi8(static_cast<char>(byte));
}
SMOLFAST_TARGET_VBMI2 inline __m512i splat_wide(uint32_t value) {
  return _mm512_set1_epi32(static_cast<int>(value));
}
// The first sixteen bytes, each in four.
SMOLFAST_TARGET_VBMI2 inline __m512i widened(__m512i bytes) {
  return _mm512_cvtepu8_epi32(_mm512_castsi512_si128(bytes));
}

}  // namespace

// The bytes of each leading consonant become those of its syllable, those of vowels and final consonants are squeezed
// out, and all else in the 64 bytes stays: no branch on where a syllable or a word ends.
SMOLFAST_TARGET_VBMI2 bool compose_hangul_vbmi2(const char* block, const char* end, uint64_t& mask,
                                                const char*& segment, const char*& copied, char*& out) {
  if (segment > block) return compose_hangul_baseline(block, end, mask, segment, copied, out);
  const __m512i first = _mm512_loadu_si512(block);
  const __m512i second = _mm512_loadu_si512(block + 1);
  const __m512i third = _mm512_loadu_si512(block + 2);
  const uint64_t starts = _mm512_cmpeq_epi8_mask(first, splat(0xE1));
  const uint64_t late = _mm512_mask_cmpeq_epi8_mask(starts, second, splat(0x87));  // from U+11C0 on
  const __m512i lead = _mm512_sub_epi8(third, splat(0x80));
  const __m512i vowel = _mm512_sub_epi8(third, splat(0xA1));
  const __m512i tail = _mm512_mask_sub_epi8(_mm512_sub_epi8(third, splat(0xA7)), late, third, splat(0x80 - 25));
  const uint64_t all_leads =
      _mm512_mask_cmpeq_epi8_mask(starts, second, splat(0x84)) & _mm512_cmplt_epu8_mask(lead, splat(kLeads));
  const uint64_t all_vowels =
      _mm512_mask_cmpeq_epi8_mask(starts, second, splat(0x85)) & _mm512_cmplt_epu8_mask(vowel, splat(kVowels));
  const uint64_t all_tails = (_mm512_mask_cmpeq_epi8_mask(starts, second, splat(0x86)) | late) &
                             _mm512_cmplt_epu8_mask(_mm512_sub_epi8(tail, splat(1)), splat(kTails - 1));
  // Those of which the block holds all, and the start of what follows.
  const uint64_t leads = all_leads & ((uint64_t{1} << (64 - 9)) - 1);
  if (leads == 0) return compose_hangul_baseline(block, end, mask, segment, copied, out);
  const int last = 63 - __builtin_clzll(leads);
  const int used = last + 6 + ((all_tails >> (last + 6) & 1) != 0 ? 3 : 0);
  const uint64_t in_use = (uint64_t{1} << used) - 1;
  const uint64_t tails = all_tails & leads << 6;
  // The stops there, and that of what follows, must be those of the syllables.
  if ((all_vowels & in_use) != leads << 3 || (mask & (in_use << 1 | 1)) != (leads << 3 | tails))
    return compose_hangul_baseline(block, end, mask, segment, copied, out);

  // At most ten of each.
  const __m512i by_lead =
      _mm512_mullo_epi32(widened(_mm512_maskz_compress_epi8(leads, lead)), splat_wide(kVowels * kTails));
  const __m512i by_vowel =
      _mm512_mullo_epi32(widened(_mm512_maskz_compress_epi8(leads << 3, vowel)), splat_wide(kTails));
  const __m512i by_tail = widened(_mm512_maskz_compress_epi8(leads << 6, _mm512_maskz_mov_epi8(tails, tail)));
  const __m512i code =
      _mm512_add_epi32(_mm512_add_epi32(by_lead, by_vowel), _mm512_add_epi32(by_tail, splat_wide(kSyllableBase)));
  const __m512i encoded = _mm512_or_si512(
      _mm512_or_si512(_mm512_srli_epi32(code, 12), _mm512_and_si512(_mm512_slli_epi32(code, 2), splat_wide(0x3F00))),
      _mm512_or_si512(_mm512_slli_epi32(_mm512_and_si512(code, splat_wide(63)), 16), splat_wide(0x8080E0)));
  const __m512i threes = _mm512_shuffle_epi8(
      encoded, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1)));
  const __m512i syllables =
      _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 3, 3, 3), threes);
  const __m512i placed = _mm512_mask_expand_epi8(first, leads | leads << 1 | leads << 2, syllables);
  const uint64_t joined = leads << 3 | tails;
  const uint64_t kept = in_use & ~(joined | joined << 1 | joined << 2);
  char* const to = copy_stretch(copied, block, end, out);
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi8(kept, placed));
  out = to + __builtin_popcountll(kept);
  segment = copied = block + used;
  mask = 0;
  return true;
}

}  // namespace smolfast::text
#endif
