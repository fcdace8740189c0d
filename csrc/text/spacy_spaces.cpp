#include "text/spacy_spaces.h"

#include <bit>

#include "base/cpu.h"
#include "text/block.h"
#include "text/byte_classes.h"
#include "text/spaces.h"

namespace smolfast::text {
namespace {

struct Bytes {
  uint64_t spaces;   // of ASCII
  uint64_t letters;  // of ASCII
  uint64_t above;
  uint64_t pairs;  // first bytes of two whose characters are letters, save for × and ÷
  uint64_t latin;  // C3, the first byte of those two
  uint64_t signs;  // 97 and B7, their second bytes
  uint64_t leads;  // first bytes of what may be a longer space
};

inline ChunkClasses ascii(const Bytes& bytes) {
  return {bytes.spaces, ~bytes.letters, 0};
}

inline ChunkClasses combine(const Bytes& bytes, const char* at, std::size_t left) {
  const uint64_t pairs = bytes.pairs & ~(bytes.latin & bytes.signs >> 1);
  ChunkClasses out{bytes.spaces, ~(bytes.letters | pairs | pairs << 1), bytes.above};
  const char* const end = at + left;
  for (uint64_t leads = bytes.leads; leads != 0; leads &= leads - 1) {
    const int i = std::countr_zero(leads);
    const int size = space_size(at + i, end);
    out.spaces |= ((uint64_t{1} << size) - 1) << i;
  }
  return out;
}

#if defined(SMOLFAST_X86)

namespace sse2 {

ChunkClasses classify(const char* at, std::size_t left) {
  char copy[64];
  const char* block = whole_block(at, left, copy);
  Bytes all{};
  for (int i = 0; i < 4; ++i) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block) + i);
    all.spaces |= block_mask(bytes_either(bytes_between(x, '\x09', 4), bytes_between(x, '\x1C', 4)), i);
    all.letters |= block_mask(bytes_between(bytes_with(x, 0x20), 'a', 25), i);
    all.above |= block_mask(x, i);
  }
  if (all.above == 0) return ascii(all);
  for (int i = 0; i < 4; ++i) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block) + i);
    all.pairs |= block_mask(bytes_either(bytes_between(x, '\xC3', 2), bytes_between(x, '\xD0', 1)), i);
    all.latin |= block_mask(bytes_equal(x, '\xC3'), i);
    all.signs |= block_mask(bytes_equal(bytes_within(x, '\xDF'), '\x97'), i);
    all.leads |= block_mask(bytes_either(bytes_equal(x, '\xC2'), bytes_between(x, '\xE1', 2)), i);
  }
  return combine(all, at, left);
}

}  // namespace sse2

namespace avx2 {

SMOLFAST_TARGET_AVX2 ChunkClasses classify(const char* at, std::size_t left) {
  char copy[64];
  const char* block = whole_block(at, left, copy);
  Bytes all{};
  for (int i = 0; i < 2; ++i) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block) + i);
    all.spaces |= block_mask(bytes_either(bytes_between(x, '\x09', 4), bytes_between(x, '\x1C', 4)), i);
    all.letters |= block_mask(bytes_between(bytes_with(x, 0x20), 'a', 25), i);
    all.above |= block_mask(x, i);
  }
  if (all.above == 0) return ascii(all);
  for (int i = 0; i < 2; ++i) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block) + i);
    all.pairs |= block_mask(bytes_either(bytes_between(x, '\xC3', 2), bytes_between(x, '\xD0', 1)), i);
    all.latin |= block_mask(bytes_equal(x, '\xC3'), i);
    all.signs |= block_mask(bytes_equal(bytes_within(x, '\xDF'), '\x97'), i);
    all.leads |= block_mask(bytes_either(bytes_equal(x, '\xC2'), bytes_between(x, '\xE1', 2)), i);
  }
  return combine(all, at, left);
}

}  // namespace avx2

namespace avx512 {

SMOLFAST_TARGET_AVX512 ChunkClasses classify(const char* at, std::size_t left) {
  const __m512i x = left >= 64 ? _mm512_loadu_si512(at)
                               : _mm512_mask_loadu_epi8(_mm512_set1_epi8(' '), (uint64_t{1} << left) - 1, at);
  Bytes all{};
  all.spaces = bytes_between(x, '\x09', 4) | bytes_between(x, '\x1C', 4);
  all.letters = bytes_between(_mm512_or_si512(x, _mm512_set1_epi8(0x20)), 'a', 25);
  all.above = _mm512_movepi8_mask(x);
  if (all.above == 0) return ascii(all);
  all.pairs = bytes_between(x, '\xC3', 2) | bytes_between(x, '\xD0', 1);
  all.latin = bytes_equal(x, '\xC3');
  all.signs = bytes_equal(_mm512_and_si512(x, _mm512_set1_epi8('\xDF')), '\x97');
  all.leads = bytes_equal(x, '\xC2') | bytes_between(x, '\xE1', 2);
  return combine(all, at, left);
}

}  // namespace avx512

#else

namespace portable {

ChunkClasses classify(const char* at, std::size_t left) {
  char copy[64];
  const char* block = whole_block(at, left, copy);
  Bytes all{};
  for (int i = 0; i < 64; ++i) {
    const auto c = static_cast<unsigned char>(block[i]);
    all.spaces |= uint64_t{static_cast<unsigned char>(c - 9) <= 4 || static_cast<unsigned char>(c - 0x1C) <= 4} << i;
    all.letters |= uint64_t{static_cast<unsigned char>((c | 0x20) - 'a') <= 25} << i;
    all.above |= uint64_t{c >= 0x80} << i;
    all.pairs |= uint64_t{(c >= 0xC3 && c <= 0xC5) || c == 0xD0 || c == 0xD1} << i;
    all.latin |= uint64_t{c == 0xC3} << i;
    all.signs |= uint64_t{(c & 0xDF) == 0x97} << i;
    all.leads |= uint64_t{c == 0xC2 || (c >= 0xE1 && c <= 0xE3)} << i;
  }
  return all.above == 0 ? ascii(all) : combine(all, at, left);
}

}  // namespace portable

#endif

}  // namespace

ClassifyChunks choose_chunk_classes() {
#if defined(SMOLFAST_X86)
  switch (active_isa()) {
    case Isa::kAvx512:
      return avx512::classify;
    case Isa::kAvx2:
      return avx2::classify;
    default:
      return sse2::classify;
  }
#else
  return portable::classify;
#endif
}

}  // namespace smolfast::text
