#include "fasttext/kept_buckets.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "base/cpu.h"
#include "base/vector_loops.h"
#include "fasttext/reader.h"

#if defined(SMOLFAST_X86) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace smolfast::fasttext {
namespace {

// Where the kept ones are counted. `rows` is null where a bucket's row is how many come before.
struct Ranks {
  const uint64_t* bits;
  const uint32_t* before;
  const int32_t* rows;
};

SMOLFAST_INLINE int32_t row_of(const Ranks& ranks, uint32_t bucket) {
  const uint64_t below = ranks.bits[bucket >> 6] & ((uint64_t{1} << (bucket & 63)) - 1);
  const uint32_t rank = ranks.before[bucket >> 6] + static_cast<uint32_t>(std::popcount(below));
  return ranks.rows == nullptr ? static_cast<int32_t>(rank) : ranks.rows[rank];
}

// Whether a bucket was kept is as good as random, so nothing branches on it.
std::size_t keep_one_by_one(const uint64_t* bits, uint32_t* asked, std::size_t count) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const uint32_t bucket = asked[i];
    asked[kept] = bucket;
    kept += bits[bucket >> 6] >> (bucket & 63) & 1;
  }
  return kept;
}

SMOLFAST_INLINE void find_rows(const Ranks& ranks, const uint32_t* kept, std::size_t count, int32_t first,
                               int32_t* rows) {
  for (std::size_t i = 0; i < count; ++i) rows[i] = first + row_of(ranks, kept[i]);
}

#if defined(SMOLFAST_X86) && defined(__GNUC__)

// The same with the instruction that counts bits.
SMOLFAST_TARGET_AVX2 void find_rows_popcnt(const Ranks& ranks, const uint32_t* kept, std::size_t count, int32_t first,
                                           int32_t* rows) {
  find_rows(ranks, kept, count, first, rows);
}

SMOLFAST_TARGET_AVX512 std::size_t keep_avx512(const uint64_t* bits, uint32_t* asked, std::size_t count) {
  const __m512i low = _mm512_set1_epi32(31);
  const __m512i one = _mm512_set1_epi32(1);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; i += 16) {
    const auto here = static_cast<__mmask16>(count - i < 16 ? (1u << (count - i)) - 1 : 0xFFFF);
    const __m512i buckets = _mm512_maskz_loadu_epi32(here, asked + i);
    const __m512i words =
        _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), here, _mm512_maskz_srli_epi32(here, buckets, 5), bits, 4);
    const __m512i bit = _mm512_maskz_sllv_epi32(here, one, _mm512_maskz_and_epi32(here, buckets, low));
    const __mmask16 found = _mm512_test_epi32_mask(words, bit);
    const auto more = static_cast<unsigned>(std::popcount(static_cast<unsigned>(found)));
    const __m512i those = _mm512_maskz_compress_epi32(found, buckets);
    _mm512_mask_storeu_epi32(asked + kept, static_cast<__mmask16>((1u << more) - 1), those);
    kept += more;
  }
  return kept;
}

#endif

}  // namespace

KeptBuckets::KeptBuckets(Reader& reader, int64_t pairs, int32_t buckets) {
  constexpr int32_t kMostBuckets = 1 << 28;  // the bits of which take 48 MiB
  if (buckets > kMostBuckets) reader.fail(std::to_string(buckets) + " buckets are more than the 2^28 that are read");
  const char* const file = reader.take(8, pairs, "the kept n-grams");
  const auto blocks = static_cast<std::size_t>(buckets) / 64 + 1;
  bits_.assign(blocks, 0);
  before_.assign(blocks, 0);
  struct Pair {
    int32_t bucket;
    int32_t row;
  };
  const auto for_each = [&](const auto& body) {
    for (int64_t i = 0; i < pairs; ++i) {
      Pair pair;
      std::memcpy(&pair, file + i * 8, sizeof pair);
      if (pair.bucket >= 0 && pair.bucket < buckets) body(pair);
    }
  };
  for_each([&](Pair pair) { bits_[static_cast<std::size_t>(pair.bucket) >> 6] |= uint64_t{1} << (pair.bucket & 63); });
  uint32_t before = 0;
  for (std::size_t i = 0; i < blocks; ++i) {
    before_[i] = before;
    before += static_cast<uint32_t>(std::popcount(bits_[i]));
  }
  rows_.assign(before, 0);
  for_each([&](Pair pair) {
    if (pair.row < 0) reader.fail("a kept n-gram has row " + std::to_string(pair.row));
    last_row_ = std::max(last_row_, pair.row);
    const auto id = static_cast<uint32_t>(pair.bucket);
    const uint64_t below = bits_[id >> 6] & ((uint64_t{1} << (id & 63)) - 1);
    rows_[before_[id >> 6] + static_cast<uint32_t>(std::popcount(below))] = pair.row;  // the last counts
  });
  // fastText numbers them in the buckets' order: then they needn't be looked up.
  bool in_order = true;
  for (std::size_t rank = 0; rank < rows_.size(); ++rank) in_order &= rows_[rank] == static_cast<int32_t>(rank);
  if (in_order) rows_ = {};
}

std::size_t KeptBuckets::keep(uint32_t* asked, std::size_t count) const {
#if defined(SMOLFAST_X86) && defined(__GNUC__)
  if (active_isa() == Isa::kAvx512) return keep_avx512(bits_.data(), asked, count);
#endif
  return keep_one_by_one(bits_.data(), asked, count);
}

void KeptBuckets::rows_of_kept(const uint32_t* kept, std::size_t count, int32_t first, int32_t* rows) const {
  const Ranks ranks{bits_.data(), before_.data(), rows_.empty() ? nullptr : rows_.data()};
#if defined(SMOLFAST_X86) && defined(__GNUC__)
  if (active_isa() != Isa::kBaseline) return find_rows_popcnt(ranks, kept, count, first, rows);
#endif
  find_rows(ranks, kept, count, first, rows);
}

}  // namespace smolfast::fasttext
