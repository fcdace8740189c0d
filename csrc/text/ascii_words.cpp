#include "text/ascii_words.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "base/cpu.h"

#if defined(SMOLFAST_X86)
#include <immintrin.h>
#endif

namespace smolfast::text {
namespace {

// The word-break classes of a 64-byte block, a bit a byte.
struct BlockClasses {
  uint64_t letters;
  uint64_t digits;
  uint64_t underscores;  // ExtendNumLet
  uint64_t colons;       // MidLetter
  uint64_t dots;         // MidNumLet and Single_Quote: the full stop and the apostrophe
  uint64_t commas;       // MidNum: the comma and the semicolon
  uint64_t above;        // not ASCII
};
using Classify = BlockClasses (*)(const char*);

#if defined(SMOLFAST_X86)

BlockClasses classify_sse2(const char* block) {
  BlockClasses all{};
  for (int i = 0; i < 4; ++i) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block) + i);
    const auto mask = [i](__m128i matches) {
      return uint64_t{static_cast<uint32_t>(_mm_movemask_epi8(matches))} << (16 * i);
    };
    const auto is = [x](char c) { return _mm_cmpeq_epi8(x, _mm_set1_epi8(c)); };
    const auto in = [](__m128i v, char low, char span) {
      const __m128i offset = _mm_sub_epi8(v, _mm_set1_epi8(low));
      return _mm_cmpeq_epi8(_mm_min_epu8(offset, _mm_set1_epi8(span)), offset);
    };
    all.letters |= mask(in(_mm_or_si128(x, _mm_set1_epi8(0x20)), 'a', 25));
    all.digits |= mask(in(x, '0', 9));
    all.underscores |= mask(is('_'));
    all.colons |= mask(is(':'));
    all.dots |= mask(_mm_or_si128(is('.'), is('\'')));
    all.commas |= mask(_mm_or_si128(is(','), is(';')));
    all.above |= mask(x);
  }
  return all;
}

// Lambdas don't inherit a function's target, so the wider versions spell their steps out by macros.
#define SMOLFAST_MASK(v) uint64_t{static_cast<uint32_t>(_mm256_movemask_epi8(v))} << (32 * i)
#define SMOLFAST_IS(c) _mm256_cmpeq_epi8(x, _mm256_set1_epi8(c))
#define SMOLFAST_IN(v, low, span)                                                                       \
  _mm256_cmpeq_epi8(_mm256_min_epu8(_mm256_sub_epi8(v, _mm256_set1_epi8(low)), _mm256_set1_epi8(span)), \
                    _mm256_sub_epi8(v, _mm256_set1_epi8(low)))
SMOLFAST_TARGET_AVX2 BlockClasses classify_avx2(const char* block) {
  BlockClasses all{};
  for (int i = 0; i < 2; ++i) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block) + i);
    all.letters |= SMOLFAST_MASK(SMOLFAST_IN(_mm256_or_si256(x, _mm256_set1_epi8(0x20)), 'a', 25));
    all.digits |= SMOLFAST_MASK(SMOLFAST_IN(x, '0', 9));
    all.underscores |= SMOLFAST_MASK(SMOLFAST_IS('_'));
    all.colons |= SMOLFAST_MASK(SMOLFAST_IS(':'));
    all.dots |= SMOLFAST_MASK(_mm256_or_si256(SMOLFAST_IS('.'), SMOLFAST_IS('\'')));
    all.commas |= SMOLFAST_MASK(_mm256_or_si256(SMOLFAST_IS(','), SMOLFAST_IS(';')));
    all.above |= SMOLFAST_MASK(x);
  }
  return all;
}
#undef SMOLFAST_MASK
#undef SMOLFAST_IS
#undef SMOLFAST_IN

#define SMOLFAST_IS(c) _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8(c))
#define SMOLFAST_IN(v, low, span) \
  _mm512_cmple_epu8_mask(_mm512_sub_epi8(v, _mm512_set1_epi8(low)), _mm512_set1_epi8(span))
SMOLFAST_TARGET_AVX512 BlockClasses classify_avx512(const char* block) {
  const __m512i x = _mm512_loadu_si512(block);
  return {SMOLFAST_IN(_mm512_or_si512(x, _mm512_set1_epi8(0x20)), 'a', 25),
          SMOLFAST_IN(x, '0', 9),
          SMOLFAST_IS('_'),
          SMOLFAST_IS(':'),
          SMOLFAST_IS('.') | SMOLFAST_IS('\''),
          SMOLFAST_IS(',') | SMOLFAST_IS(';'),
          _mm512_movepi8_mask(x)};
}
#undef SMOLFAST_IS
#undef SMOLFAST_IN

#else

BlockClasses classify_portable(const char* block) {
  BlockClasses all{};
  for (int i = 0; i < 64; ++i) {
    const auto c = static_cast<unsigned char>(block[i]);
    all.letters |= uint64_t{static_cast<unsigned char>((c | 0x20) - 'a') <= 25} << i;
    all.digits |= uint64_t{static_cast<unsigned char>(c - '0') <= 9} << i;
    all.underscores |= uint64_t{c == '_'} << i;
    all.colons |= uint64_t{c == ':'} << i;
    all.dots |= uint64_t{c == '.' || c == '\''} << i;
    all.commas |= uint64_t{c == ',' || c == ';'} << i;
    all.above |= uint64_t{c >= 0x80} << i;
  }
  return all;
}

#endif

Classify classify() {
#if defined(SMOLFAST_X86)
  switch (active_isa()) {
    case Isa::kAvx512:
      return classify_avx512;
    case Isa::kAvx2:
      return classify_avx2;
    default:
      return classify_sse2;
  }
#else
  return classify_portable;
#endif
}

// Writes the positions of a mask's bits to every second number: the begins or the ends of words. Four at a time, since
// a loop's end is hard to predict; what is written beyond the last is overwritten later.
inline void write_positions(uint64_t mask, int count, uint32_t base, uint32_t* out) {
  for (int done = 0; done < count; done += 4) {
    for (int j = 0; j < 4; ++j) {
      out[2 * j] = base + static_cast<uint32_t>(std::countr_zero(mask));
      mask &= mask - 1;
    }
    out += 8;
  }
}

}  // namespace

std::size_t scan_ascii_words(std::string_view text, std::size_t& at, Word* words, std::size_t capacity) {
  static_assert(sizeof(Word) == 2 * sizeof(uint32_t) && offsetof(Word, end) == sizeof(uint32_t));
  const Classify classes_of = classify();
  std::size_t found = 0;
  while (at < text.size() && found + kAsciiBlockWords <= capacity) {
    const std::size_t left = text.size() - at;
    BlockClasses c;
    if (left >= 64) {
      c = classes_of(text.data() + at);
    } else {
      char block[64];
      std::memset(block, ' ', sizeof(block));
      std::memcpy(block, text.data() + at, left);
      c = classes_of(block);
    }
    // WB5, WB8 to WB10, WB13a and WB13b join letters, digits and low lines; WB6, WB7, WB11 and WB12 a mark between two
    // letters or two digits.
    const uint64_t core = c.letters | c.digits | c.underscores;
    const uint64_t middle =
        ((c.colons | c.dots) & c.letters << 1 & c.letters >> 1) | ((c.commas | c.dots) & c.digits << 1 & c.digits >> 1);
    const uint64_t inside = core | middle;
    // Nothing is certain from the first byte above ASCII on (it may belong to the word before it), nor a mark that
    // stands before it or at the block's end. The last certain separator starts a segment: go on from there.
    const int limit = c.above != 0 ? std::countr_zero(c.above) : 64;
    if (limit == 0) break;
    const uint64_t known = limit == 64 ? ~uint64_t{0} : (uint64_t{1} << limit) - 1;
    const uint64_t last = (c.colons | c.dots | c.commas) & uint64_t{1} << (limit - 1);
    const uint64_t separators = ~inside & known & ~last;
    if (separators == 0) break;
    const int stop = 63 - std::countl_zero(separators);
    if (stop == 0) break;
    const uint64_t before = (uint64_t{1} << stop) - 1;
    uint64_t begins = inside & ~(inside << 1) & before;
    uint64_t ends = ~inside & inside << 1 & (before << 1 | 1);
    // Low lines alone are no word.
    for (uint64_t low = begins & c.underscores; low != 0; low &= low - 1) {
      const int begin = std::countr_zero(low);
      const int after = begin + std::countr_one(c.underscores >> begin);
      if ((inside >> after & 1) == 0) {
        begins &= ~(uint64_t{1} << begin);
        ends &= ~(uint64_t{1} << after);
      }
    }
    const int count = std::popcount(begins);
    write_positions(begins, count, static_cast<uint32_t>(at), &words[found].begin);
    write_positions(ends, count, static_cast<uint32_t>(at), &words[found].end);
    found += static_cast<std::size_t>(count);
    at = std::min(text.size(), at + static_cast<std::size_t>(stop));
  }
  return found;
}

}  // namespace smolfast::text
