#include "filters/survey.h"

#include <bit>

#include "base/cpu.h"
#include "text/block.h"
#include "text/byte_classes.h"

namespace smolfast::filters {
namespace {

#if defined(SMOLFAST_X86)

using text::block_mask;
using text::bytes_between;
using text::bytes_equal;

namespace sse2 {

struct Block {
  explicit Block(const char* at) {
    for (int i = 0; i < 4; ++i) parts[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at) + i);
  }
  uint64_t equal(char c) const {
    uint64_t mask = 0;
    for (int i = 0; i < 4; ++i) mask |= block_mask(bytes_equal(parts[i], c), i);
    return mask;
  }
  uint64_t between(char low, char span) const {
    uint64_t mask = 0;
    for (int i = 0; i < 4; ++i) mask |= block_mask(bytes_between(parts[i], low, span), i);
    return mask;
  }
  uint64_t printable() const {
    uint64_t mask = 0;
    for (int i = 0; i < 4; ++i) mask |= block_mask(_mm_cmpgt_epi8(parts[i], _mm_set1_epi8(' ')), i);
    return mask;
  }
  uint64_t above() const {
    uint64_t mask = 0;
    for (int i = 0; i < 4; ++i) mask |= block_mask(parts[i], i);
    return mask;
  }
  __m128i parts[4];
};

#define SMOLFAST_TARGET
#include "filters/survey.inl"
#undef SMOLFAST_TARGET

}  // namespace sse2

namespace avx2 {

struct Block {
  SMOLFAST_TARGET_AVX2 explicit Block(const char* at) {
    for (int i = 0; i < 2; ++i) parts[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at) + i);
  }
  SMOLFAST_TARGET_AVX2 uint64_t equal(char c) const {
    return block_mask(bytes_equal(parts[0], c), 0) | block_mask(bytes_equal(parts[1], c), 1);
  }
  SMOLFAST_TARGET_AVX2 uint64_t between(char low, char span) const {
    return block_mask(bytes_between(parts[0], low, span), 0) | block_mask(bytes_between(parts[1], low, span), 1);
  }
  SMOLFAST_TARGET_AVX2 uint64_t printable() const {
    const __m256i space = _mm256_set1_epi8(' ');
    return block_mask(_mm256_cmpgt_epi8(parts[0], space), 0) | block_mask(_mm256_cmpgt_epi8(parts[1], space), 1);
  }
  SMOLFAST_TARGET_AVX2 uint64_t above() const { return block_mask(parts[0], 0) | block_mask(parts[1], 1); }
  __m256i parts[2];
};

#define SMOLFAST_TARGET SMOLFAST_TARGET_AVX2
#include "filters/survey.inl"
#undef SMOLFAST_TARGET

}  // namespace avx2

namespace avx512 {

struct Block {
  SMOLFAST_TARGET_AVX512 explicit Block(const char* at) : bytes(_mm512_loadu_si512(at)) {}
  SMOLFAST_TARGET_AVX512 uint64_t equal(char c) const { return bytes_equal(bytes, c); }
  SMOLFAST_TARGET_AVX512 uint64_t between(char low, char span) const { return bytes_between(bytes, low, span); }
  SMOLFAST_TARGET_AVX512 uint64_t printable() const { return _mm512_cmpgt_epi8_mask(bytes, _mm512_set1_epi8(' ')); }
  SMOLFAST_TARGET_AVX512 uint64_t above() const { return _mm512_movepi8_mask(bytes); }
  __m512i bytes;
};

#define SMOLFAST_TARGET SMOLFAST_TARGET_AVX512
#include "filters/survey.inl"
#undef SMOLFAST_TARGET

}  // namespace avx512

#else

namespace portable {

struct Block {
  explicit Block(const char* at) : bytes(at) {}
  template <typename Is>
  uint64_t where(Is&& is) const {
    uint64_t mask = 0;
    for (int i = 0; i < 64; ++i) mask |= uint64_t{is(static_cast<uint8_t>(bytes[i]))} << i;
    return mask;
  }
  uint64_t equal(char c) const {
    return where([c](uint8_t byte) { return byte == static_cast<uint8_t>(c); });
  }
  uint64_t between(char low, char span) const {
    return where([=](uint8_t byte) { return static_cast<uint8_t>(byte - static_cast<uint8_t>(low)) <= span; });
  }
  uint64_t printable() const {
    return where([](uint8_t byte) { return byte > ' ' && byte < 0x80; });
  }
  uint64_t above() const {
    return where([](uint8_t byte) { return byte >= 0x80; });
  }
  const char* bytes;
};

#define SMOLFAST_TARGET
#include "filters/survey.inl"
#undef SMOLFAST_TARGET

}  // namespace portable

#endif

}  // namespace

void survey_text(std::string_view text, Survey& survey) {
#if defined(SMOLFAST_X86)
  switch (active_isa()) {
    case Isa::kAvx512:
      return avx512::walk(text, survey);
    case Isa::kAvx2:
      return avx2::walk(text, survey);
    default:
      return sse2::walk(text, survey);
  }
#else
  portable::walk(text, survey);
#endif
}

}  // namespace smolfast::filters
