#include "fasttext/subwords.h"

#include <algorithm>
#include <cstring>

#include "base/cpu.h"
#include "fasttext/hash.h"

#if defined(SMOLFAST_X86) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace smolfast::fasttext {
namespace {

constexpr uint32_t kPrime = 16777619u;

// Of sixteen n-grams of length n, those that lie in the word and aren't < or > alone.
struct Range {
  int32_t first;
  int32_t last;
};
Range range_of(const Marked& word, int32_t begin, int32_t n) {
  const int32_t end = word.size - (n == 1 ? 1 : n - 1) - begin;
  return {n == 1 && begin == 0 ? 1 : 0, std::min(Marked::kAtOnce, end)};
}

std::size_t buckets_plain(const Marked& word, int32_t begin, uint32_t* out) {
  uint32_t hashes[Marked::kAtOnce];
  std::fill_n(hashes, Marked::kAtOnce, kHashStart);
  uint32_t* to = out;
  for (int32_t n = 1; n <= word.maxn && begin + n <= word.size; ++n) {
    for (int part = 0; part < word.most_bytes; ++part) {
      const int32_t* const bytes = word.bytes(part) + begin + n - 1;
      for (int lane = 0; lane < Marked::kAtOnce; ++lane) {
        const uint32_t next = (hashes[lane] ^ static_cast<uint32_t>(bytes[lane])) * kPrime;
        hashes[lane] = bytes[lane] == Marked::kNone ? hashes[lane] : next;
      }
    }
    if (n < word.minn) continue;
    const Range range = range_of(word, begin, n);
    for (int32_t lane = range.first; lane < range.last; ++lane) *to++ = hashes[lane] % word.divisor;
  }
  return static_cast<std::size_t>(to - out);
}

#if defined(SMOLFAST_X86) && defined(__GNUC__)

// What was stored at `to` without the lanes outside of the range; returns the end.
inline uint32_t* keep(Range range, uint32_t* to) {
  if (range.last <= range.first) return to;
  if (range.first != 0) std::memmove(to, to + 1, (Marked::kAtOnce - 1) * sizeof(uint32_t));
  return to + (range.last - range.first);
}

SMOLFAST_TARGET_AVX2 inline __m256i modulo(__m256i hash, __m256i factor, __m128i shift, __m256i divisor) {
  const __m256i even = _mm256_srli_epi64(_mm256_mul_epu32(hash, factor), 32);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(hash, 32), factor);
  const __m256i quotient = _mm256_srl_epi32(_mm256_blend_epi32(even, odd, 0xAA), shift);
  const __m256i rest = _mm256_sub_epi32(hash, _mm256_mullo_epi32(quotient, divisor));
  return _mm256_min_epu32(rest, _mm256_sub_epi32(rest, divisor));
}

SMOLFAST_TARGET_AVX2 std::size_t buckets_avx2(const Marked& word, int32_t begin, uint32_t* out) {
  const __m256i prime = _mm256_set1_epi32(static_cast<int32_t>(kPrime));
  const __m256i none = _mm256_set1_epi32(Marked::kNone);
  const __m256i factor = _mm256_set1_epi32(static_cast<int32_t>(word.factor));
  const __m256i divisor = _mm256_set1_epi32(static_cast<int32_t>(word.divisor));
  const __m128i shift = _mm_cvtsi32_si128(word.shift);
  __m256i low = _mm256_set1_epi32(static_cast<int32_t>(kHashStart));
  __m256i high = low;
  uint32_t* to = out;
  for (int32_t n = 1; n <= word.maxn && begin + n <= word.size; ++n) {
    for (int part = 0; part < word.most_bytes; ++part) {
      const int32_t* const bytes = word.bytes(part) + begin + n - 1;
      const __m256i of_low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
      const __m256i of_high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 8));
      const __m256i next_low = _mm256_mullo_epi32(_mm256_xor_si256(low, of_low), prime);
      const __m256i next_high = _mm256_mullo_epi32(_mm256_xor_si256(high, of_high), prime);
      low = _mm256_blendv_epi8(next_low, low, _mm256_cmpeq_epi32(of_low, none));
      high = _mm256_blendv_epi8(next_high, high, _mm256_cmpeq_epi32(of_high, none));
    }
    if (n < word.minn) continue;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), modulo(low, factor, shift, divisor));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 8), modulo(high, factor, shift, divisor));
    to = keep(range_of(word, begin, n), to);
  }
  return static_cast<std::size_t>(to - out);
}

SMOLFAST_TARGET_AVX512 std::size_t buckets_avx512(const Marked& word, int32_t begin, uint32_t* out) {
  const __m512i prime = _mm512_set1_epi32(static_cast<int32_t>(kPrime));
  const __m512i none = _mm512_set1_epi32(Marked::kNone);
  const __m512i factor = _mm512_set1_epi32(static_cast<int32_t>(word.factor));
  const __m512i divisor = _mm512_set1_epi32(static_cast<int32_t>(word.divisor));
  const __m128i shift = _mm_cvtsi32_si128(word.shift);
  __m512i hashes = _mm512_set1_epi32(static_cast<int32_t>(kHashStart));
  uint32_t* to = out;
  for (int32_t n = 1; n <= word.maxn && begin + n <= word.size; ++n) {
    for (int part = 0; part < word.most_bytes; ++part) {
      const __m512i bytes = _mm512_loadu_si512(word.bytes(part) + begin + n - 1);
      const __mmask16 there = _mm512_cmpneq_epi32_mask(bytes, none);
      hashes = _mm512_mask_mullo_epi32(hashes, there, _mm512_xor_si512(hashes, bytes), prime);
    }
    if (n < word.minn) continue;
    const __m512i even = _mm512_srli_epi64(_mm512_mul_epu32(hashes, factor), 32);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(hashes, 32), factor);
    const __m512i quotient = _mm512_srl_epi32(_mm512_mask_mov_epi32(even, 0xAAAA, odd), shift);
    const __m512i rest = _mm512_sub_epi32(hashes, _mm512_mullo_epi32(quotient, divisor));
    _mm512_storeu_si512(to, _mm512_min_epu32(rest, _mm512_sub_epi32(rest, divisor)));
    to = keep(range_of(word, begin, n), to);
  }
  return static_cast<std::size_t>(to - out);
}

#endif

}  // namespace

bool Marked::set(std::string_view word) {
  const std::size_t room = word.size() + 2 + static_cast<std::size_t>(maxn) + kAtOnce;
  if (bytes_[0].size() < room) {
    for (auto& part : bytes_) part.resize(room * 2, kNone);
  }
  most_bytes = 1;
  if (std::none_of(word.begin(), word.end(), [](char byte) { return static_cast<int8_t>(byte) < 0; })) {
    int32_t* const first = bytes_[0].data();
    first[0] = '<';
    for (std::size_t i = 0; i < word.size(); ++i) first[i + 1] = word[i];
    first[word.size() + 1] = '>';
    size = static_cast<int32_t>(word.size()) + 2;
    return true;
  }
  size = 0;
  int32_t length = 0;  // bytes of the last character
  const auto begin = [&](char byte) {
    bytes_[0][static_cast<std::size_t>(size)] = static_cast<int8_t>(byte);
    for (int part = 1; part < 4; ++part) bytes_[part][static_cast<std::size_t>(size)] = kNone;
    ++size;
    length = 1;
  };
  begin('<');
  for (const char byte : word) {
    if ((static_cast<unsigned char>(byte) & 0xC0) != 0x80) {
      begin(byte);
      continue;
    }
    if (length == 4) return false;
    bytes_[length][static_cast<std::size_t>(size) - 1] = static_cast<int8_t>(byte);
    most_bytes = std::max(most_bytes, ++length);
  }
  begin('>');
  return true;
}

SubwordBuckets subword_buckets() {
#if defined(SMOLFAST_X86) && defined(__GNUC__)
  const Isa isa = active_isa();
  if (isa == Isa::kAvx512) return &buckets_avx512;
  if (isa == Isa::kAvx2) return &buckets_avx2;
#endif
  return &buckets_plain;
}

}  // namespace smolfast::fasttext
