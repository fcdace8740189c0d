#include "dedup/tokens.h"

#include <bit>
#include <cstddef>
#include <cstring>
#include <string>

#include "base/cpu.h"
#include "base/error.h"

#if defined(SMOLFAST_X86)
#include <immintrin.h>
#endif

namespace smolfast::dedup {
namespace {

// One 64-byte block, a bit a byte: ASCII separators, and bytes that may begin a longer separator.
struct BlockMasks {
  uint64_t separators;
  uint64_t leads;
};
using BlockFunction = BlockMasks (*)(const char*);

// U+0085, U+00A0, U+1680, U+2000–200A, U+2028, U+2029, U+202F, U+205F and U+3000 are the spaces above ASCII
// (str.isspace); their first bytes:
inline bool is_space_lead(unsigned char c) {
  return c == 0xC2 || (c >= 0xE1 && c <= 0xE3);
}
inline bool is_ascii_space(unsigned char c) {
  return static_cast<unsigned char>(c - 9) <= 4 || static_cast<unsigned char>(c - 0x1C) <= 4;
}

// Bytes of the space that begins at `at`, or 0.
int space_size(const char* at, const char* end) {
  const auto byte = [&](int i) { return at + i < end ? static_cast<unsigned char>(at[i]) : 0u; };
  switch (byte(0)) {
    case 0xC2:
      return byte(1) == 0x85 || byte(1) == 0xA0 ? 2 : 0;
    case 0xE1:
      return byte(1) == 0x9A && byte(2) == 0x80 ? 3 : 0;
    case 0xE2:
      if (byte(1) == 0x80) {
        const unsigned last = byte(2);
        return (last >= 0x80 && last <= 0x8A) || last == 0xA8 || last == 0xA9 || last == 0xAF ? 3 : 0;
      }
      return byte(1) == 0x81 && byte(2) == 0x9F ? 3 : 0;
    case 0xE3:
      return byte(1) == 0x80 && byte(2) == 0x80 ? 3 : 0;
    default:
      return 0;
  }
}

#if defined(SMOLFAST_X86)
// Bytes of x in [low, low + span].
#define SMOLFAST_IN_RANGE_128(x, low, span)                                              \
  _mm_cmpeq_epi8(_mm_min_epu8(_mm_sub_epi8(x, _mm_set1_epi8(low)), _mm_set1_epi8(span)), \
                 _mm_sub_epi8(x, _mm_set1_epi8(low)))
#define SMOLFAST_IN_RANGE_256(x, low, span)                                                             \
  _mm256_cmpeq_epi8(_mm256_min_epu8(_mm256_sub_epi8(x, _mm256_set1_epi8(low)), _mm256_set1_epi8(span)), \
                    _mm256_sub_epi8(x, _mm256_set1_epi8(low)))
#define SMOLFAST_IN_RANGE_512(x, low, span) \
  _mm512_cmple_epu8_mask(_mm512_sub_epi8(x, _mm512_set1_epi8(low)), _mm512_set1_epi8(span))

BlockMasks space_block_sse2(const char* at) {
  BlockMasks masks{0, 0};
  for (int i = 0; i < 4; ++i) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at) + i);
    const __m128i spaces = _mm_or_si128(SMOLFAST_IN_RANGE_128(x, 9, 4), SMOLFAST_IN_RANGE_128(x, 0x1C, 4));
    const __m128i leads = _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8(static_cast<char>(0xC2))),
                                       SMOLFAST_IN_RANGE_128(x, static_cast<char>(0xE1), 2));
    masks.separators |= uint64_t{static_cast<uint32_t>(_mm_movemask_epi8(spaces))} << (16 * i);
    masks.leads |= uint64_t{static_cast<uint32_t>(_mm_movemask_epi8(leads))} << (16 * i);
  }
  return masks;
}

SMOLFAST_TARGET_AVX2 BlockMasks space_block_avx2(const char* at) {
  BlockMasks masks{0, 0};
  for (int i = 0; i < 2; ++i) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at) + i);
    const __m256i spaces = _mm256_or_si256(SMOLFAST_IN_RANGE_256(x, 9, 4), SMOLFAST_IN_RANGE_256(x, 0x1C, 4));
    const __m256i leads = _mm256_or_si256(_mm256_cmpeq_epi8(x, _mm256_set1_epi8(static_cast<char>(0xC2))),
                                          SMOLFAST_IN_RANGE_256(x, static_cast<char>(0xE1), 2));
    masks.separators |= uint64_t{static_cast<uint32_t>(_mm256_movemask_epi8(spaces))} << (32 * i);
    masks.leads |= uint64_t{static_cast<uint32_t>(_mm256_movemask_epi8(leads))} << (32 * i);
  }
  return masks;
}

SMOLFAST_TARGET_AVX512 BlockMasks space_block_avx512(const char* at) {
  const __m512i x = _mm512_loadu_si512(at);
  return {SMOLFAST_IN_RANGE_512(x, 9, 4) | SMOLFAST_IN_RANGE_512(x, 0x1C, 4),
          _mm512_cmpeq_epu8_mask(x, _mm512_set1_epi8(static_cast<char>(0xC2))) |
              SMOLFAST_IN_RANGE_512(x, static_cast<char>(0xE1), 2)};
}
#else

BlockMasks space_block_portable(const char* at) {
  BlockMasks masks{0, 0};
  for (int i = 0; i < 64; ++i) {
    const auto c = static_cast<unsigned char>(at[i]);
    masks.separators |= uint64_t{is_ascii_space(c)} << i;
    masks.leads |= uint64_t{is_space_lead(c)} << i;
  }
  return masks;
}

#endif

BlockFunction space_block() {
#if defined(SMOLFAST_X86)
  switch (active_isa()) {
    case Isa::kAvx512:
      return space_block_avx512;
    case Isa::kAvx2:
      return space_block_avx2;
    default:
      return space_block_sse2;
  }
#else
  return space_block_portable;
#endif
}

// Writes the positions of a mask's bits to every second number from `out` on: the begins or the ends of words.
uint32_t* write_positions(uint64_t mask, uint32_t base, uint32_t* out) {
  while (mask != 0) {
    *out = base + static_cast<uint32_t>(std::countr_zero(mask));
    out += 2;
    mask &= mask - 1;
  }
  return out;
}

}  // namespace

TokenStream::TokenStream(TokenKind kind, std::string_view text) : kind_(kind), text_(text) {
  if (text.size() > kMaxBytes) {
    throw Error("a document has " + std::to_string(text.size()) +
                " bytes; documents may have up to 4 GiB: split it into several");
  }
  if (kind == TokenKind::kUnicode) words_.emplace(text);
}

bool TokenStream::next(TokenBatch& batch) {
  batch.size = 0;
  if (kind_ == TokenKind::kUnicode) {
    batch.size = words_->next(batch.tokens, TokenBatch::kCapacity);
  } else if (at_ < text_.size()) {
    kind_ == TokenKind::kChar ? next_chars(batch) : next_spaced(batch);
  }
  return batch.size != 0;
}

void TokenStream::next_spaced(TokenBatch& batch) {
  static_assert(sizeof(text::Word) == 2 * sizeof(uint32_t) && offsetof(text::Word, end) == sizeof(uint32_t));
  const BlockFunction classify = space_block();
  const char* text = text_.data();
  uint32_t* const begins = &batch.tokens[0].begin;
  uint32_t* const ends = &batch.tokens[0].end;
  uint32_t* begin = begins;
  uint32_t* end = ends;
  if (open_ != kNone) {
    *begin = open_;
    begin += 2;
  }
  bool inside = open_ != kNone;
  std::size_t at = at_;
  while (at < text_.size() && end < ends + 2 * TokenBatch::kCapacity) {
    BlockMasks masks;
    if (text_.size() - at >= 64) {
      masks = classify(text + at);
    } else {
      char tail[64];
      std::memset(tail, ' ', sizeof(tail));
      std::memcpy(tail, text + at, text_.size() - at);
      masks = classify(tail);
    }
    uint64_t separators = masks.separators | carry_;
    carry_ = 0;
    for (uint64_t leads = masks.leads; leads != 0; leads &= leads - 1) {
      const int i = std::countr_zero(leads);
      const int size = space_size(text + at + i, text + text_.size());
      if (size == 0) continue;
      const uint64_t bytes = (uint64_t{1} << size) - 1;
      separators |= bytes << i;
      if (i + size > 64) carry_ = bytes >> (64 - i);
    }
    const uint64_t before = separators << 1 | uint64_t{!inside};
    begin = write_positions(~separators & before, static_cast<uint32_t>(at), begin);
    end = write_positions(separators & ~before, static_cast<uint32_t>(at), end);
    inside = (separators >> 63) == 0;
    at += 64;
  }
  at_ = at;
  if (at >= text_.size() && begin - begins > end - ends) {
    *end = static_cast<uint32_t>(text_.size());
    end += 2;
  }
  batch.size = static_cast<std::size_t>(end - ends) / 2;
  open_ = begin - begins > end - ends ? batch.tokens[batch.size].begin : kNone;
}

void TokenStream::next_chars(TokenBatch& batch) {
  std::size_t at = at_;
  while (at < text_.size() && batch.size < TokenBatch::kCapacity) {
    const std::size_t begin = at++;
    while (at < text_.size() && (static_cast<unsigned char>(text_[at]) & 0xC0) == 0x80) ++at;
    batch.tokens[batch.size++] = {static_cast<uint32_t>(begin), static_cast<uint32_t>(at)};
  }
  at_ = at;
}

}  // namespace smolfast::dedup
