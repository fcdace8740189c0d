#include "text/plain_words.h"

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
  uint64_t pairs;        // first bytes of two whose characters are letters, save for × and ÷
  uint64_t latin;        // 0xC3, the first byte of those two
  uint64_t signs;        // 0x97 and 0xB7, their second bytes
  uint64_t han;          // first bytes of three whose characters are Han, save for those after 0xE4 0xB7
  uint64_t exceptions;   // 0xE4
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
    all.latin |= mask(is('\xC3'));
    all.pairs |= mask(_mm_or_si128(in(x, '\xC3', 2), in(x, '\xD0', 1)));
    all.signs |= mask(_mm_cmpeq_epi8(_mm_and_si128(x, _mm_set1_epi8('\xDF')), _mm_set1_epi8('\x97')));
    all.han |= mask(in(x, '\xE4', 5));
    all.exceptions |= mask(is('\xE4'));
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
    all.latin |= SMOLFAST_MASK(SMOLFAST_IS('\xC3'));
    all.pairs |= SMOLFAST_MASK(_mm256_or_si256(SMOLFAST_IN(x, '\xC3', 2), SMOLFAST_IN(x, '\xD0', 1)));
    all.signs |=
        SMOLFAST_MASK(_mm256_cmpeq_epi8(_mm256_and_si256(x, _mm256_set1_epi8('\xDF')), _mm256_set1_epi8('\x97')));
    all.han |= SMOLFAST_MASK(SMOLFAST_IN(x, '\xE4', 5));
    all.exceptions |= SMOLFAST_MASK(SMOLFAST_IS('\xE4'));
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
          _mm512_movepi8_mask(x),
          SMOLFAST_IN(x, '\xC3', 2) | SMOLFAST_IN(x, '\xD0', 1),
          SMOLFAST_IS('\xC3'),
          _mm512_cmpeq_epi8_mask(_mm512_and_si512(x, _mm512_set1_epi8('\xDF')), _mm512_set1_epi8('\x97')),
          SMOLFAST_IN(x, '\xE4', 5),
          SMOLFAST_IS('\xE4')};
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
    all.latin |= uint64_t{c == 0xC3} << i;
    all.pairs |= uint64_t{(c >= 0xC3 && c <= 0xC5) || c == 0xD0 || c == 0xD1} << i;
    all.signs |= uint64_t{(c & 0xDF) == 0x97} << i;
    all.han |= uint64_t{c >= 0xE4 && c <= 0xE9} << i;
    all.exceptions |= uint64_t{c == 0xE4} << i;
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

std::size_t scan_plain_words(std::string_view text, std::size_t& at, Word* words, std::size_t capacity) {
  static_assert(sizeof(Word) == 2 * sizeof(uint32_t) && offsetof(Word, end) == sizeof(uint32_t));
  const Classify classes_of = classify();
  std::size_t found = 0;
  while (at < text.size() && found + kPlainBlockWords <= capacity) {
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
    // Characters above ASCII that are plain and whole inside the block.
    const uint64_t pairs = c.pairs & ~(c.latin & c.signs >> 1) & ~(uint64_t{1} << 63);
    const uint64_t han = c.han & ~(c.exceptions & c.signs >> 1) & ~(uint64_t{3} << 62);
    const uint64_t letters = c.letters | pairs | pairs << 1;
    const uint64_t han_bytes = han | han << 1 | han << 2;
    // WB5, WB8 to WB10, WB13a and WB13b join letters, digits and low lines; WB6, WB7, WB11 and WB12 a mark between two
    // letters or two digits.
    const uint64_t core = letters | c.digits | c.underscores;
    const uint64_t middle =
        ((c.colons | c.dots) & letters << 1 & letters >> 1) | ((c.commas | c.dots) & c.digits << 1 & c.digits >> 1);
    const uint64_t inside = core | middle;
    // Nothing is certain from the first byte on that isn't plain (it may belong to the word before it), nor a mark that
    // stands before it or at the block's end. The last certain start of a segment is a separator or a Han character: go
    // on from there.
    const uint64_t above = c.above & ~(letters | han_bytes);
    const int limit = above != 0 ? std::countr_zero(above) : 64;
    if (limit == 0) break;
    const uint64_t known = limit == 64 ? ~uint64_t{0} : (uint64_t{1} << limit) - 1;
    const uint64_t last = (c.colons | c.dots | c.commas) & uint64_t{1} << (limit - 1);
    const uint64_t starts = ((~inside & ~han_bytes & ~last) | han) & known;
    if (starts == 0) break;
    const int stop = 63 - std::countl_zero(starts);
    if (stop == 0) break;
    const uint64_t before = (uint64_t{1} << stop) - 1;
    uint64_t begins = ((inside & ~(inside << 1)) | han) & before;
    uint64_t ends = ((~inside & inside << 1) | (han & before) << 3) & (before << 1 | 1);
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
