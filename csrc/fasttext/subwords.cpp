#include "fasttext/subwords.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/cpu.h"
#include "base/vector_loops.h"
#include "fasttext/hash.h"

#if defined(SMOLFAST_X86) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace smolfast::fasttext {
namespace {

constexpr uint32_t kPrime = 16777619u;
constexpr std::size_t kAtOnce = Marked::kAtOnce;

// Of sixteen beginnings those of n-grams that lie in a word, as bits. They get fewer from length to length.
class Valid {
 public:
  Valid(const Marked& words, std::size_t begin)
      : words_(words),
        begin_(begin),
        inside_(words.size() - begin < kAtOnce ? (1u << (words.size() - begin)) - 1 : 0xFFFF) {}
  uint32_t of_length(int32_t n) {
    if (n > 1) return inside_ &= ~words_.ends(begin_ + static_cast<std::size_t>(n) - 2);
    const uint32_t last = words_.ends(begin_);
    const uint32_t first = last << 1 | (begin_ == 0 ? 1u : words_.ends(begin_ - 1) & 1u);
    return inside_ & ~last & ~first;
  }

 private:
  const Marked& words_;
  std::size_t begin_;
  uint32_t inside_;
};

// Marks those that begin at these of the sixteen characters from `begin` on.
SMOLFAST_INLINE void mark(NGrams& found, std::size_t begin, uint32_t those) {
  found.begins[begin >> 6] |= uint64_t{those} << (begin & 63);
}

// Whether a bucket was kept is as good as random, so nothing branches on it.
SMOLFAST_INLINE void append(NGrams& found, std::size_t begin, const uint32_t* buckets, uint32_t valid,
                            const uint64_t* kept) {
  uint32_t* const to = found.buckets.data();
  std::size_t count = found.count;
  uint32_t those = 0;
  for (std::size_t lane = 0; lane < kAtOnce; ++lane) {
    const uint32_t bucket = buckets[lane];
    to[count] = bucket;
    uint32_t wanted = valid >> lane & 1u;
    if (kept != nullptr) wanted &= static_cast<uint32_t>(kept[bucket >> 6] >> (bucket & 63));
    those |= wanted << lane;
    count += wanted;
  }
  found.count = count;
  mark(found, begin, those);
}

void find_plain(const Marked& words, const VectorModulo& bucket, const uint64_t* kept, int32_t first, NGrams* found,
                std::size_t lengths) {
  const int32_t most = first + static_cast<int32_t>(lengths) - 1;
  for (std::size_t begin = 0; begin < words.size(); begin += kAtOnce) {
    Valid valid(words, begin);
    uint32_t hashes[kAtOnce];
    std::fill_n(hashes, kAtOnce, kHashStart);
    for (int32_t n = 1; n <= most; ++n) {
      const uint32_t here = valid.of_length(n);
      if (here == 0 && n > 1) break;
      for (int part = 0; part < words.most_bytes(); ++part) {
        const int32_t* const bytes = words.bytes(part) + begin + n - 1;
        for (std::size_t lane = 0; lane < kAtOnce; ++lane) {
          const uint32_t next = (hashes[lane] ^ static_cast<uint32_t>(bytes[lane])) * kPrime;
          hashes[lane] = bytes[lane] == Marked::kNone ? hashes[lane] : next;
        }
      }
      if (n < first) continue;
      uint32_t buckets[kAtOnce];
      for (std::size_t lane = 0; lane < kAtOnce; ++lane) buckets[lane] = hashes[lane] % bucket.divisor;
      append(found[n - first], begin, buckets, here, kept);
    }
  }
}

// How many of these bits are set.
SMOLFAST_INLINE std::size_t count_bits(const uint64_t* bits, std::size_t from, std::size_t size) {
  std::size_t count = 0;
  for (;;) {
    const uint64_t next = bits[from >> 6] >> (from & 63) | bits[(from >> 6) + 1] << 1 << (63 - (from & 63));
    if (size <= 64) return count + static_cast<std::size_t>(std::popcount(next << (64 - size)));
    count += static_cast<std::size_t>(std::popcount(next));
    from += 64;
    size -= 64;
  }
}

SMOLFAST_INLINE int32_t* take_loop(NGrams* found, std::size_t lengths, std::size_t begin, std::size_t characters,
                                   int32_t* to) {
  for (NGrams* of_length = found; of_length != found + lengths; ++of_length) {
    const std::size_t count = count_bits(of_length->begins.data(), begin, characters);
    const int32_t* const rows = of_length->rows.data() + of_length->taken;
    for (std::size_t i = 0; i < count; i += kAtOnce) std::memcpy(to + i, rows + i, kAtOnce * sizeof(int32_t));
    to += count;
    of_length->taken += count;
  }
  return to;
}

int32_t* take_plain(NGrams* found, std::size_t lengths, std::size_t begin, std::size_t characters, int32_t* to) {
  return take_loop(found, lengths, begin, characters, to);
}

constexpr SubwordLoops kPlainLoops{&find_plain, &take_plain};

#if defined(SMOLFAST_X86) && defined(__GNUC__)

SMOLFAST_TARGET_AVX2 inline __m256i modulo(__m256i hash, __m256i factor, __m128i shift, __m256i divisor) {
  const __m256i even = _mm256_srli_epi64(_mm256_mul_epu32(hash, factor), 32);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(hash, 32), factor);
  const __m256i quotient = _mm256_srl_epi32(_mm256_blend_epi32(even, odd, 0xAA), shift);
  const __m256i rest = _mm256_sub_epi32(hash, _mm256_mullo_epi32(quotient, divisor));
  return _mm256_min_epu32(rest, _mm256_sub_epi32(rest, divisor));
}

SMOLFAST_TARGET_AVX2 void find_avx2(const Marked& words, const VectorModulo& bucket, const uint64_t* kept,
                                    int32_t first, NGrams* found, std::size_t lengths) {
  const __m256i prime = _mm256_set1_epi32(static_cast<int32_t>(kPrime));
  const __m256i none = _mm256_set1_epi32(Marked::kNone);
  const __m256i factor = _mm256_set1_epi32(static_cast<int32_t>(bucket.factor));
  const __m256i divisor = _mm256_set1_epi32(static_cast<int32_t>(bucket.divisor));
  const __m128i shift = _mm_cvtsi32_si128(bucket.shift);
  const int32_t most = first + static_cast<int32_t>(lengths) - 1;
  for (std::size_t begin = 0; begin < words.size(); begin += kAtOnce) {
    Valid valid(words, begin);
    __m256i low = _mm256_set1_epi32(static_cast<int32_t>(kHashStart));
    __m256i high = low;
    for (int32_t n = 1; n <= most; ++n) {
      const uint32_t here = valid.of_length(n);
      if (here == 0 && n > 1) break;
      for (int part = 0; part < words.most_bytes(); ++part) {
        const int32_t* const bytes = words.bytes(part) + begin + n - 1;
        const __m256i of_low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
        const __m256i of_high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 8));
        const __m256i next_low = _mm256_mullo_epi32(_mm256_xor_si256(low, of_low), prime);
        const __m256i next_high = _mm256_mullo_epi32(_mm256_xor_si256(high, of_high), prime);
        low = _mm256_blendv_epi8(next_low, low, _mm256_cmpeq_epi32(of_low, none));
        high = _mm256_blendv_epi8(next_high, high, _mm256_cmpeq_epi32(of_high, none));
      }
      if (n < first) continue;
      uint32_t buckets[kAtOnce];
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(buckets), modulo(low, factor, shift, divisor));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(buckets + 8), modulo(high, factor, shift, divisor));
      append(found[n - first], begin, buckets, here, kept);
    }
  }
}

SMOLFAST_TARGET_AVX512 void find_avx512(const Marked& words, const VectorModulo& bucket, const uint64_t* kept,
                                        int32_t first, NGrams* found, std::size_t lengths) {
  const __m512i prime = _mm512_set1_epi32(static_cast<int32_t>(kPrime));
  const __m512i none = _mm512_set1_epi32(Marked::kNone);
  const __m512i factor = _mm512_set1_epi32(static_cast<int32_t>(bucket.factor));
  const __m512i divisor = _mm512_set1_epi32(static_cast<int32_t>(bucket.divisor));
  const __m128i shift = _mm_cvtsi32_si128(bucket.shift);
  const __m512i low_bits = _mm512_set1_epi32(31);
  const __m512i one = _mm512_set1_epi32(1);
  const int32_t most = first + static_cast<int32_t>(lengths) - 1;
  for (std::size_t begin = 0; begin < words.size(); begin += kAtOnce) {
    Valid valid(words, begin);
    __m512i hashes = _mm512_set1_epi32(static_cast<int32_t>(kHashStart));
    for (int32_t n = 1; n <= most; ++n) {
      const auto here = static_cast<__mmask16>(valid.of_length(n));
      if (here == 0 && n > 1) break;
      for (int part = 0; part < words.most_bytes(); ++part) {
        const __m512i bytes = _mm512_loadu_si512(words.bytes(part) + begin + n - 1);
        const __mmask16 there = _mm512_cmpneq_epi32_mask(bytes, none);
        hashes = _mm512_mask_mullo_epi32(hashes, there, _mm512_xor_si512(hashes, bytes), prime);
      }
      if (n < first) continue;
      const __m512i even = _mm512_srli_epi64(_mm512_mul_epu32(hashes, factor), 32);
      const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(hashes, 32), factor);
      const __m512i quotient = _mm512_srl_epi32(_mm512_mask_mov_epi32(even, 0xAAAA, odd), shift);
      const __m512i rest = _mm512_sub_epi32(hashes, _mm512_mullo_epi32(quotient, divisor));
      const __m512i buckets = _mm512_min_epu32(rest, _mm512_sub_epi32(rest, divisor));
      __mmask16 those = here;
      if (kept != nullptr) {
        const __m512i halves = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), here,
                                                           _mm512_maskz_srli_epi32(here, buckets, 5), kept, 4);
        const __m512i bit = _mm512_maskz_sllv_epi32(here, one, _mm512_maskz_and_epi32(here, buckets, low_bits));
        those = _mm512_test_epi32_mask(halves, bit);
      }
      NGrams& of_length = found[n - first];
      _mm512_storeu_si512(of_length.buckets.data() + of_length.count, _mm512_maskz_compress_epi32(those, buckets));
      of_length.count += static_cast<std::size_t>(std::popcount(static_cast<unsigned>(those)));
      mark(of_length, begin, those);
    }
  }
}

// With the instruction that counts bits.
SMOLFAST_TARGET_AVX2 int32_t* take_avx2(NGrams* found, std::size_t lengths, std::size_t begin, std::size_t characters,
                                        int32_t* to) {
  return take_loop(found, lengths, begin, characters, to);
}

constexpr SubwordLoops kAvx2Loops{&find_avx2, &take_avx2};
constexpr SubwordLoops kAvx512Loops{&find_avx512, &take_avx2};

#endif

// Eight bytes at once, the last of which overlap.
bool is_ascii(std::string_view word) {
  const auto any = [&](std::size_t at, std::size_t bytes) {
    uint64_t some = 0;
    std::memcpy(&some, word.data() + at, bytes);
    return (some & 0x8080808080808080u) != 0;
  };
  if (word.size() < 8) return !any(0, word.size());
  for (std::size_t at = 0; at + 8 < word.size(); at += 8) {
    if (any(at, 8)) return false;
  }
  return !any(word.size() - 8, 8);
}

}  // namespace

VectorModulo::VectorModulo(uint32_t buckets) : divisor(buckets), shift(std::bit_width(buckets) - 1) {
  const uint64_t inverse = (uint64_t{1} << (32 + shift)) / buckets;
  factor = inverse > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(inverse);
}

void NGrams::clear(std::size_t characters) {
  count = taken = 0;
  const std::size_t room = characters + kAtOnce;  // the last sixteen are stored at once
  if (buckets.size() < room) {
    buckets.resize(2 * room);
    rows.resize(2 * room);
  }
  begins.assign(characters / 64 + 2, 0);
}

void Marked::make_room(std::size_t bytes) {
  const std::size_t room = size_ + bytes + 2 + maxn_ + 2 * kAtOnce;
  if (bytes_[0].size() >= room) return;
  for (auto& part : bytes_) part.resize(2 * room, kNone);
  ends_.resize(2 * room / 64 + 2, 0);
}

void Marked::clear() {
  for (int part = 1; part < most_bytes_; ++part) std::fill_n(bytes_[part].data(), size_, kNone);
  std::fill_n(ends_.data(), std::min(ends_.size(), size_ / 64 + 1), 0);
  size_ = 0;
  most_bytes_ = 1;
}

bool Marked::push(std::string_view word) {
  make_room(word.size());
  int32_t* const first = bytes_[0].data() + size_;
  first[0] = '<';
  std::size_t last = 0;  // character
  if (is_ascii(word)) {
    for (std::size_t i = 0; i < word.size(); ++i) first[i + 1] = word[i];
    last = word.size();
  } else {
    int length = 1;  // bytes of the last character
    for (const char byte : word) {
      if ((static_cast<unsigned char>(byte) & 0xC0) != 0x80) {
        first[++last] = static_cast<int8_t>(byte);
        length = 1;
        continue;
      }
      if (length == 4) {
        for (int part = 1; part < 4; ++part) std::fill_n(bytes_[part].data() + size_, last + 1, kNone);
        return false;
      }
      bytes_[length][size_ + last] = static_cast<int8_t>(byte);
      most_bytes_ = std::max(most_bytes_, ++length);
    }
  }
  first[++last] = '>';
  size_ += last + 1;
  ends_[(size_ - 1) >> 6] |= uint64_t{1} << ((size_ - 1) & 63);
  return true;
}

const SubwordLoops& subword_loops() {
#if defined(SMOLFAST_X86) && defined(__GNUC__)
  const Isa isa = active_isa();
  if (isa == Isa::kAvx512) return kAvx512Loops;
  if (isa == Isa::kAvx2) return kAvx2Loops;
#endif
  return kPlainLoops;
}

}  // namespace smolfast::fasttext
