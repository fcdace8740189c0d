#include "text/unicode_words_plain.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/cpu.h"
#include "text/block.h"
#include "text/byte_classes.h"
#include "text/unicode_words_lookup.h"
#include "text/utf8.h"

namespace smolfast::text {
namespace {

// The word-break classes of a 64-byte block, a bit a byte.
struct BlockClasses {
  uint64_t spaces;  // U+0020 alone
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
using Scan = std::size_t (*)(std::string_view text, std::size_t& position, Word* words, std::size_t capacity);

static_assert(sizeof(Word) == 2 * sizeof(uint32_t) && offsetof(Word, end) == sizeof(uint32_t));

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

inline void write_words(uint64_t begins, uint64_t ends, int count, uint32_t base, Word* words) {
  write_positions(begins, count, base, &words->begin);
  write_positions(ends, count, base, &words->end);
}

#if defined(SMOLFAST_X86)

namespace sse2 {

using Part = __m128i;
#define SMOLFAST_TARGET
#include "text/plain_classes.inl"
#include "text/unicode_words_plain.inl"
#undef SMOLFAST_TARGET

}  // namespace sse2

namespace avx2 {

using Part = __m256i;
#define SMOLFAST_TARGET SMOLFAST_TARGET_AVX2
#include "text/plain_classes.inl"
#include "text/unicode_words_plain.inl"
#undef SMOLFAST_TARGET

}  // namespace avx2

namespace avx512 {

SMOLFAST_TARGET_AVX512 inline BlockClasses classify(const char* text, std::size_t left) {
  const __m512i x = left >= 64 ? _mm512_loadu_si512(text)
                               : _mm512_mask_loadu_epi8(_mm512_set1_epi8(' '), (uint64_t{1} << left) - 1, text);
  BlockClasses all{};
  all.spaces = bytes_equal(x, ' ');
  all.letters = bytes_between(_mm512_or_si512(x, _mm512_set1_epi8(0x20)), 'a', 25);
  all.digits = bytes_between(x, '0', 9);
  all.underscores = bytes_equal(x, '_');
  all.colons = bytes_equal(x, ':');
  all.dots = bytes_equal(x, '.') | bytes_equal(x, '\'');
  all.commas = bytes_equal(x, ',') | bytes_equal(x, ';');
  all.above = _mm512_movepi8_mask(x);
  if (all.above == 0) return all;
  all.pairs = bytes_between(x, '\xC3', 2) | bytes_between(x, '\xD0', 1);
  all.latin = bytes_equal(x, '\xC3');
  all.signs = bytes_equal(_mm512_and_si512(x, _mm512_set1_epi8('\xDF')), '\x97');
  all.han = bytes_between(x, '\xE4', 5);
  all.exceptions = bytes_equal(x, '\xE4');
  return all;
}

SMOLFAST_TARGET_AVX512 inline uint64_t continuations(const char* text, std::size_t left) {
  const uint64_t there = left >= 64 ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
  return bytes_between(_mm512_maskz_loadu_epi8(there, text), '\x80', 63);
}

#define SMOLFAST_TARGET SMOLFAST_TARGET_AVX512
#include "text/unicode_words_plain.inl"
#undef SMOLFAST_TARGET

}  // namespace avx512

// With VBMI2, which compresses bytes, the positions take no loop: 1.3 times as fast on documents of 30 words.
namespace avx512_vbmi2 {

SMOLFAST_TARGET_VBMI2 inline BlockClasses classify(const char* text, std::size_t left) {
  return avx512::classify(text, left);
}

SMOLFAST_TARGET_VBMI2 inline uint64_t continuations(const char* text, std::size_t left) {
  return avx512::continuations(text, left);
}

SMOLFAST_TARGET_VBMI2 inline void write_words(uint64_t begins, uint64_t ends, int count, uint32_t base, Word* words) {
  const __m512i positions = _mm512_load_si512(kBlockPositions.at);
  const __m256i first = _mm512_castsi512_si256(_mm512_maskz_compress_epi8(begins, positions));
  const __m256i last = _mm512_castsi512_si256(_mm512_maskz_compress_epi8(ends, positions));
  const __m512i origin = _mm512_set1_epi32(static_cast<int>(base));
#define SMOLFAST_STORE(number, bytes) \
  _mm512_storeu_si512(words + 8 * (number), _mm512_add_epi32(_mm512_cvtepu8_epi32(bytes), origin))
  __m128i x = _mm256_castsi256_si128(first);
  __m128i y = _mm256_castsi256_si128(last);
  SMOLFAST_STORE(0, _mm_unpacklo_epi8(x, y));
  SMOLFAST_STORE(1, _mm_unpackhi_epi8(x, y));
  if (count > 16) [[unlikely]] {
    x = _mm256_extracti128_si256(first, 1);
    y = _mm256_extracti128_si256(last, 1);
    SMOLFAST_STORE(2, _mm_unpacklo_epi8(x, y));
    SMOLFAST_STORE(3, _mm_unpackhi_epi8(x, y));
  }
#undef SMOLFAST_STORE
}

#define SMOLFAST_TARGET SMOLFAST_TARGET_VBMI2
#include "text/unicode_words_plain.inl"
#undef SMOLFAST_TARGET

}  // namespace avx512_vbmi2

#else

namespace portable {

inline BlockClasses classify(const char* text, std::size_t left) {
  char copy[64];
  const char* block = whole_block(text, left, copy);
  BlockClasses all{};
  for (int i = 0; i < 64; ++i) {
    const auto c = static_cast<unsigned char>(block[i]);
    all.spaces |= uint64_t{c == ' '} << i;
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

inline uint64_t continuations(const char* text, std::size_t left) {
  uint64_t all = 0;
  for (std::size_t i = 0; i < std::min<std::size_t>(left, 64); ++i) all |= uint64_t{is_continuation(text[i])} << i;
  return all;
}

#define SMOLFAST_TARGET
#include "text/unicode_words_plain.inl"
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

std::size_t scan_plain_words(std::string_view text, std::size_t& at, Word* words, std::size_t capacity) {
  return choose()(text, at, words, capacity);
}

}  // namespace smolfast::text
