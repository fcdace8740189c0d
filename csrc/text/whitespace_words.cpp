#include "text/whitespace_words.h"

#include <bit>
#include <cstring>

#include "base/cpu.h"
#include "text/block.h"
#include "text/byte_classes.h"
#include "text/spaces.h"

namespace smolfast::text {
namespace {

// A 64-byte block, a bit a byte.
struct SpaceClasses {
  uint64_t spaces;  // of ASCII: U+0009–000D, U+001C–0020
  uint64_t leads;   // first bytes of what may be a longer space
};
using Scan = std::size_t (*)(std::string_view text, SpacedPosition& position, uint32_t* bounds, std::size_t capacity);

// Of the first bytes C2, E1, E2 and E3, those before a second byte of a space, or at the block's end. `seconds` are
// 80, 85, 9A and A0; `eighty_ones` follow E2 alone, or every hiragana would count.
inline uint64_t possible_leads(uint64_t leads, uint64_t e2, uint64_t seconds, uint64_t eighty_ones) {
  return leads & (seconds >> 1 | (e2 & eighty_ones >> 1) | uint64_t{1} << 63);
}

// Writes the positions of a mask's bits, eight at a time, since a loop's end is hard to predict; what is written beyond
// the last is overwritten later.
inline void write_bounds(uint64_t mask, int count, uint32_t base, uint32_t* out) {
  for (int done = 0; done < count; done += 8) {
    for (int j = 0; j < 8; ++j) {
      out[done + j] = base + static_cast<uint32_t>(std::countr_zero(mask));
      mask &= mask - 1;
    }
  }
}

#if defined(SMOLFAST_X86)

namespace sse2 {

inline SpaceClasses classify(const char* text, std::size_t left) {
  char copy[64];
  const char* block = whole_block(text, left, copy);
  uint64_t spaces = 0, leads = 0, e2 = 0, seconds = 0, eighty_ones = 0;
  for (int i = 0; i < 4; ++i) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block) + i);
    spaces |= block_mask(_mm_or_si128(bytes_between(x, '\x09', 4), bytes_between(x, '\x1C', 4)), i);
    leads |= block_mask(_mm_or_si128(bytes_equal(x, '\xC2'), bytes_between(x, '\xE1', 2)), i);
    e2 |= block_mask(bytes_equal(x, '\xE2'), i);
    seconds |= block_mask(bytes_equal(x, '\x80'), i) | block_mask(bytes_equal(x, '\x85'), i) |
               block_mask(bytes_equal(x, '\x9A'), i) | block_mask(bytes_equal(x, '\xA0'), i);
    eighty_ones |= block_mask(bytes_equal(x, '\x81'), i);
  }
  return {spaces, possible_leads(leads, e2, seconds, eighty_ones)};
}

#define SMOLFAST_TARGET
#include "text/whitespace_words.inl"
#undef SMOLFAST_TARGET

}  // namespace sse2

namespace avx2 {

SMOLFAST_TARGET_AVX2 inline SpaceClasses classify(const char* text, std::size_t left) {
  char copy[64];
  const char* block = whole_block(text, left, copy);
  uint64_t spaces = 0, above = 0;
  for (int i = 0; i < 2; ++i) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block) + i);
    spaces |= block_mask(_mm256_or_si256(bytes_between(x, '\x09', 4), bytes_between(x, '\x1C', 4)), i);
    above |= block_mask(x, i);
  }
  if (above == 0) return {spaces, 0};
  uint64_t leads = 0, e2 = 0, seconds = 0, eighty_ones = 0;
  for (int i = 0; i < 2; ++i) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block) + i);
    leads |= block_mask(_mm256_or_si256(bytes_equal(x, '\xC2'), bytes_between(x, '\xE1', 2)), i);
    e2 |= block_mask(bytes_equal(x, '\xE2'), i);
    seconds |= block_mask(bytes_equal(x, '\x80'), i) | block_mask(bytes_equal(x, '\x85'), i) |
               block_mask(bytes_equal(x, '\x9A'), i) | block_mask(bytes_equal(x, '\xA0'), i);
    eighty_ones |= block_mask(bytes_equal(x, '\x81'), i);
  }
  return {spaces, possible_leads(leads, e2, seconds, eighty_ones)};
}

#define SMOLFAST_TARGET SMOLFAST_TARGET_AVX2
#include "text/whitespace_words.inl"
#undef SMOLFAST_TARGET

}  // namespace avx2

namespace avx512 {

SMOLFAST_TARGET_AVX512 inline SpaceClasses classify(const char* text, std::size_t left) {
  const __m512i x = left >= 64 ? _mm512_loadu_si512(text)
                               : _mm512_mask_loadu_epi8(_mm512_set1_epi8(' '), (uint64_t{1} << left) - 1, text);
  const uint64_t spaces = bytes_between(x, '\x09', 4) | bytes_between(x, '\x1C', 4);
  if (_mm512_movepi8_mask(x) == 0) return {spaces, 0};
  const uint64_t leads = bytes_equal(x, '\xC2') | bytes_between(x, '\xE1', 2);
  const uint64_t seconds =
      bytes_equal(x, '\x80') | bytes_equal(x, '\x85') | bytes_equal(x, '\x9A') | bytes_equal(x, '\xA0');
  return {spaces, possible_leads(leads, bytes_equal(x, '\xE2'), seconds, bytes_equal(x, '\x81'))};
}

#define SMOLFAST_TARGET SMOLFAST_TARGET_AVX512
#include "text/whitespace_words.inl"
#undef SMOLFAST_TARGET

}  // namespace avx512

// With VBMI2, which compresses bytes, the positions take no loop.
namespace avx512_vbmi2 {

SMOLFAST_TARGET_VBMI2 inline SpaceClasses classify(const char* text, std::size_t left) {
  return avx512::classify(text, left);
}

SMOLFAST_TARGET_VBMI2 inline void write_bounds(uint64_t mask, int count, uint32_t base, uint32_t* out) {
  const __m512i bytes = _mm512_maskz_compress_epi8(mask, _mm512_load_si512(kBlockPositions.at));
  const __m512i origin = _mm512_set1_epi32(static_cast<int>(base));
#define SMOLFAST_STORE(number)             \
  _mm512_storeu_si512(out + 16 * (number), \
                      _mm512_add_epi32(_mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(bytes, number)), origin))
  SMOLFAST_STORE(0);
  SMOLFAST_STORE(1);
  if (count > 32) [[unlikely]] {
    SMOLFAST_STORE(2);
    SMOLFAST_STORE(3);
  }
#undef SMOLFAST_STORE
}

#define SMOLFAST_TARGET SMOLFAST_TARGET_VBMI2
#include "text/whitespace_words.inl"
#undef SMOLFAST_TARGET

}  // namespace avx512_vbmi2

#else

namespace portable {

inline SpaceClasses classify(const char* text, std::size_t left) {
  char copy[64];
  const char* block = whole_block(text, left, copy);
  uint64_t spaces = 0, leads = 0, e2 = 0, seconds = 0, eighty_ones = 0;
  for (int i = 0; i < 64; ++i) {
    const auto c = static_cast<unsigned char>(block[i]);
    spaces |= uint64_t{static_cast<unsigned char>(c - 9) <= 4 || static_cast<unsigned char>(c - 0x1C) <= 4} << i;
    leads |= uint64_t{c == 0xC2 || (c >= 0xE1 && c <= 0xE3)} << i;
    e2 |= uint64_t{c == 0xE2} << i;
    seconds |= uint64_t{c == 0x80 || c == 0x85 || c == 0x9A || c == 0xA0} << i;
    eighty_ones |= uint64_t{c == 0x81} << i;
  }
  return {spaces, possible_leads(leads, e2, seconds, eighty_ones)};
}

#define SMOLFAST_TARGET
#include "text/whitespace_words.inl"
#undef SMOLFAST_TARGET

}  // namespace portable

#endif

Scan choose() {
#if defined(SMOLFAST_X86)
  switch (active_isa()) {
    case Isa::kAvx512:
      return has_vbmi2() ? avx512_vbmi2::scan : avx512::scan;
    case Isa::kAvx2:
      return avx2::scan;
    default:
      return sse2::scan;
  }
#else
  return portable::scan;
#endif
}

}  // namespace

std::size_t scan_spaced_words(std::string_view text, SpacedPosition& position, uint32_t* bounds, std::size_t capacity) {
  return choose()(text, position, bounds, capacity);
}

}  // namespace smolfast::text
