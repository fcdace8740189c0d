#include "fasttext/kernels.h"

#include <cstring>
#include <limits>

#include "base/cpu.h"
#include "base/vector_loops.h"

#if defined(SMOLFAST_X86)
#include <immintrin.h>
#endif

namespace smolfast::fasttext {
namespace {

constexpr std::size_t kLanes = 16;
constexpr std::size_t kPoints = 256;  // of a part: a code is a byte

template <std::size_t WIDTH>
SMOLFAST_INLINE Floats<WIDTH> load(const char* at) {
  Floats<WIDTH> floats;
  std::memcpy(&floats, at, sizeof floats);
  return floats;
}

template <std::size_t WIDTH>
SMOLFAST_INLINE void add_loop(float* sum, const char* row, std::size_t size) {
  std::size_t i = 0;
  for (; i + WIDTH <= size; i += WIDTH) {
    const Floats<WIDTH> both = load<WIDTH>(reinterpret_cast<const char*>(sum + i)) + load<WIDTH>(row + i * 4);
    std::memcpy(sum + i, &both, sizeof both);
  }
  for (; i < size; ++i) {
    float one;
    std::memcpy(&one, row + i * 4, 4);
    sum[i] += one;
  }
}

template <std::size_t WIDTH>
SMOLFAST_INLINE void add_all_loop(float* sum, const float* const* rows, std::size_t count, std::size_t size) {
  std::size_t i = 0;
  for (; i + WIDTH <= size; i += WIDTH) {
    Floats<WIDTH> total = load<WIDTH>(reinterpret_cast<const char*>(sum + i));
    for (std::size_t row = 0; row < count; ++row) total += load<WIDTH>(reinterpret_cast<const char*>(rows[row] + i));
    std::memcpy(sum + i, &total, sizeof total);
  }
  for (; i < size; ++i) {
    for (std::size_t row = 0; row < count; ++row) sum[i] += rows[row][i];
  }
}

template <std::size_t WIDTH>
SMOLFAST_INLINE void add_scaled_loop(float* sum, const float* row, float scale, std::size_t size) {
  std::size_t i = 0;
  for (; i + WIDTH <= size; i += WIDTH) {
    const Floats<WIDTH> scaled = load<WIDTH>(reinterpret_cast<const char*>(row + i)) * scale;
    const Floats<WIDTH> both = load<WIDTH>(reinterpret_cast<const char*>(sum + i)) + scaled;
    std::memcpy(sum + i, &both, sizeof both);
  }
  for (; i < size; ++i) {
    const float scaled = row[i] * scale;
    sum[i] += scaled;
  }
}

// Element i goes to lane i mod 16; the lanes are then added half onto half.
template <std::size_t WIDTH>
SMOLFAST_INLINE float dot_loop(const float* left, const char* right, std::size_t size) {
  constexpr std::size_t kVectors = kLanes / WIDTH;
  Floats<WIDTH> sums[kVectors] = {};
  std::size_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t at = i + v * WIDTH;
      const Floats<WIDTH> product = load<WIDTH>(reinterpret_cast<const char*>(left + at)) * load<WIDTH>(right + at * 4);
      sums[v] += product;
    }
  }
  float lanes[kLanes];
  std::memcpy(lanes, sums, sizeof lanes);
  for (std::size_t lane = 0; i < size; ++i, ++lane) {
    float one;
    std::memcpy(&one, right + i * 4, 4);
    const float product = left[i] * one;
    lanes[lane] += product;
  }
  for (std::size_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

// Parts `from` and on, two by two: four numbers are added without a copy of the row between.
SMOLFAST_INLINE void add_coded_loop(const CodedRows& coded, const int32_t* rows, std::size_t count, float* sum,
                                    std::size_t from) {
  for (std::size_t i = 0; from < coded.parts && i < count; ++i) {
    const uint8_t* const codes = coded.codes + static_cast<std::size_t>(rows[i]) * coded.parts;
    const float scale = coded.norm(rows[i]);
    const float* part = coded.centroids + 2 * kPoints * from;
    for (std::size_t at = from; at < coded.parts; at += 2, part += 4 * kPoints) {
      float four[4];
      std::memcpy(four, part + 2 * codes[at], 8);
      std::memcpy(four + 2, part + 2 * kPoints + 2 * codes[at + 1], 8);
      float* const to = sum + 2 * at;
      for (int j = 0; j < 4; ++j) {
        const float scaled = four[j] * scale;
        to[j] += scaled;
      }
    }
  }
}

template <std::size_t WIDTH>
SMOLFAST_INLINE void softmax_loop(float* values, std::size_t size) {
  float most = values[0];
  for (std::size_t i = 1; i < size; ++i) most = values[i] > most ? values[i] : most;
  float lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (std::size_t at = 0; at < kLanes; at += WIDTH) {
      const Floats<WIDTH> shares =
          exponentials<WIDTH>(load<WIDTH>(reinterpret_cast<const char*>(values + i + at)) - most);
      std::memcpy(values + i + at, &shares, sizeof shares);
      const Floats<WIDTH> sums = load<WIDTH>(reinterpret_cast<const char*>(lanes + at)) + shares;
      std::memcpy(lanes + at, &sums, sizeof sums);
    }
  }
  for (std::size_t lane = 0; i < size; ++i, ++lane) {
    values[i] = exponential(values[i] - most);
    lanes[lane] += values[i];
  }
  for (std::size_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  for (i = 0; i < size; ++i) values[i] /= lanes[0];
}

// Each lane keeps the nearest of every WIDTH-th point; the least distance of all then decides, and among equals the
// point's number.
template <std::size_t WIDTH>
SMOLFAST_INLINE uint8_t nearest_loop(const float* point, const float* points, std::size_t size) {
  Floats<WIDTH> least = Floats<WIDTH>{} + std::numeric_limits<float>::infinity();
  Floats<WIDTH> which{};
  for (std::size_t first = 0; first < 256; first += WIDTH) {
    Floats<WIDTH> distance{};
    for (std::size_t i = 0; i < size; ++i) {
      const Floats<WIDTH> apart = point[i] - load<WIDTH>(reinterpret_cast<const char*>(points + i * 256 + first));
      const Floats<WIDTH> square = apart * apart;
      distance += square;
    }
    const auto nearer = distance < least;
    which = nearer ? Floats<WIDTH>{} + static_cast<float>(first) : which;
    least = nearer ? distance : least;
  }
  float distances[WIDTH];
  float blocks[WIDTH];
  std::memcpy(distances, &least, sizeof distances);
  std::memcpy(blocks, &which, sizeof blocks);
  std::size_t best = 0;
  float best_distance = std::numeric_limits<float>::infinity();
  for (std::size_t lane = 0; lane < WIDTH; ++lane) {
    const std::size_t number = static_cast<std::size_t>(blocks[lane]) + lane;
    if (distances[lane] < best_distance || (distances[lane] == best_distance && number < best)) {
      best = number;
      best_distance = distances[lane];
    }
  }
  return static_cast<uint8_t>(best);
}

// Whether a byte parts words for fastText: U+0000, U+0009–000D, U+0020.
SMOLFAST_INLINE bool is_separator(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  return value == ' ' || value == 0 || static_cast<unsigned char>(value - 9) < 5;
}

SMOLFAST_INLINE uint64_t separators_plain(const char* block) {
  uint64_t mask = 0;
  for (int i = 0; i < 64; ++i) mask |= uint64_t{is_separator(block[i])} << i;
  return mask;
}

constexpr Kernels kBaseline{
    [](float* sum, const char* row, std::size_t size) { add_loop<kBaselineLanes>(sum, row, size); },
    [](float* sum, const float* const* rows, std::size_t count, std::size_t size) {
      add_all_loop<kBaselineLanes>(sum, rows, count, size);
    },
    [](float* sum, const float* row, float scale, std::size_t size) {
      add_scaled_loop<kBaselineLanes>(sum, row, scale, size);
    },
    [](const float* left, const char* right, std::size_t size) { return dot_loop<kBaselineLanes>(left, right, size); },
    [](const CodedRows& coded, const int32_t* rows, std::size_t count, float* sum) {
      add_coded_loop(coded, rows, count, sum, 0);
    },
    [](float* values, std::size_t size) { softmax_loop<kBaselineLanes>(values, size); },
#if defined(SMOLFAST_X86)
    [](const char* block) {
      uint64_t mask = 0;
      for (int part = 0; part < 4; ++part) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + part * 16));
        const __m128i after = _mm_sub_epi8(bytes, _mm_set1_epi8(9));
        const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(after, _mm_set1_epi8(4)), after);
        const __m128i blank =
            _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(' ')), _mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
        const auto bits = static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(control, blank)));
        mask |= uint64_t{bits} << (part * 16);
      }
      return mask;
    },
#else
    &separators_plain,
#endif
    [](const float* point, const float* points, std::size_t size) {
      return nearest_loop<kBaselineLanes>(point, points, size);
    },
};

#if defined(SMOLFAST_X86) && defined(__GNUC__)

SMOLFAST_TARGET_AVX2 void add_avx2(float* sum, const char* row, std::size_t size) {
  add_loop<8>(sum, row, size);
}

SMOLFAST_TARGET_AVX2 void add_all_avx2(float* sum, const float* const* rows, std::size_t count, std::size_t size) {
  add_all_loop<8>(sum, rows, count, size);
}

SMOLFAST_TARGET_AVX2 void add_scaled_avx2(float* sum, const float* row, float scale, std::size_t size) {
  add_scaled_loop<8>(sum, row, scale, size);
}

SMOLFAST_TARGET_AVX2 float dot_avx2(const float* left, const char* right, std::size_t size) {
  return dot_loop<8>(left, right, size);
}

// Eight codes at once, sixteen numbers, whose sums stay in registers.
SMOLFAST_TARGET_AVX2 void add_coded_avx2(const CodedRows& coded, const int32_t* rows, std::size_t count, float* sum) {
  const auto four = [](const float* part, const uint8_t* codes) SMOLFAST_TARGET_AVX2 {
    const auto at = [&](std::size_t i) { return reinterpret_cast<const double*>(part + 2 * (kPoints * i + codes[i])); };
    const __m128d low = _mm_loadh_pd(_mm_load_sd(at(0)), at(1));
    const __m128d high = _mm_loadh_pd(_mm_load_sd(at(2)), at(3));
    return _mm256_castpd_ps(_mm256_insertf128_pd(_mm256_castpd128_pd256(low), high, 1));
  };
  std::size_t from = 0;
  for (; from + 8 <= coded.parts; from += 8) {
    const float* const part = coded.centroids + 2 * kPoints * from;
    __m256 low = _mm256_loadu_ps(sum + 2 * from);
    __m256 high = _mm256_loadu_ps(sum + 2 * from + 8);
    for (std::size_t i = 0; i < count; ++i) {
      const uint8_t* const codes = coded.codes + static_cast<std::size_t>(rows[i]) * coded.parts + from;
      const __m256 scale = _mm256_set1_ps(coded.norm(rows[i]));
      low = _mm256_add_ps(low, _mm256_mul_ps(four(part, codes), scale));
      high = _mm256_add_ps(high, _mm256_mul_ps(four(part + 8 * kPoints, codes + 4), scale));
    }
    _mm256_storeu_ps(sum + 2 * from, low);
    _mm256_storeu_ps(sum + 2 * from + 8, high);
  }
  add_coded_loop(coded, rows, count, sum, from);
}

SMOLFAST_TARGET_AVX2 uint64_t separators_avx2(const char* block) {
  uint64_t mask = 0;
  for (int part = 0; part < 2; ++part) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + part * 32));
    const __m256i after = _mm256_sub_epi8(bytes, _mm256_set1_epi8(9));
    const __m256i control = _mm256_cmpeq_epi8(_mm256_min_epu8(after, _mm256_set1_epi8(4)), after);
    const __m256i blank = _mm256_or_si256(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(' ')),
                                          _mm256_cmpeq_epi8(bytes, _mm256_setzero_si256()));
    const auto bits = static_cast<unsigned>(_mm256_movemask_epi8(_mm256_or_si256(control, blank)));
    mask |= uint64_t{bits} << (part * 32);
  }
  return mask;
}

SMOLFAST_TARGET_AVX2 void softmax_avx2(float* values, std::size_t size) {
  softmax_loop<8>(values, size);
}

SMOLFAST_TARGET_AVX2 uint8_t nearest_avx2(const float* point, const float* points, std::size_t size) {
  return nearest_loop<8>(point, points, size);
}

constexpr Kernels kAvx2{&add_avx2,       &add_all_avx2, &add_scaled_avx2, &dot_avx2,
                        &add_coded_avx2, &softmax_avx2, &separators_avx2, &nearest_avx2};

SMOLFAST_TARGET_AVX512 void add_avx512(float* sum, const char* row, std::size_t size) {
  add_loop<16>(sum, row, size);
}

SMOLFAST_TARGET_AVX512 void add_all_avx512(float* sum, const float* const* rows, std::size_t count, std::size_t size) {
  add_all_loop<16>(sum, rows, count, size);
}

SMOLFAST_TARGET_AVX512 void add_scaled_avx512(float* sum, const float* row, float scale, std::size_t size) {
  add_scaled_loop<16>(sum, row, scale, size);
}

SMOLFAST_TARGET_AVX512 float dot_avx512(const float* left, const char* right, std::size_t size) {
  return dot_loop<16>(left, right, size);
}

SMOLFAST_TARGET_AVX512 void add_coded_avx512(const CodedRows& coded, const int32_t* rows, std::size_t count,
                                             float* sum) {
  const auto four = [](const float* part, const uint8_t* codes) SMOLFAST_TARGET_AVX512 {
    const auto at = [&](std::size_t i) { return reinterpret_cast<const double*>(part + 2 * (kPoints * i + codes[i])); };
    const __m128d low = _mm_loadh_pd(_mm_load_sd(at(0)), at(1));
    const __m128d high = _mm_loadh_pd(_mm_load_sd(at(2)), at(3));
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(low), high, 1);
  };
  std::size_t from = 0;
  for (; from + 8 <= coded.parts; from += 8) {
    const float* const part = coded.centroids + 2 * kPoints * from;
    __m512 total = _mm512_loadu_ps(sum + 2 * from);
    for (std::size_t i = 0; i < count; ++i) {
      const uint8_t* const codes = coded.codes + static_cast<std::size_t>(rows[i]) * coded.parts + from;
      const __m512d low = _mm512_castpd256_pd512(four(part, codes));
      const __m512d row = _mm512_insertf64x4(low, four(part + 8 * kPoints, codes + 4), 1);
      const __m512 scaled = _mm512_mul_ps(_mm512_castpd_ps(row), _mm512_set1_ps(coded.norm(rows[i])));
      total = _mm512_add_ps(total, scaled);
    }
    _mm512_storeu_ps(sum + 2 * from, total);
  }
  add_coded_loop(coded, rows, count, sum, from);
}

SMOLFAST_TARGET_AVX512 void softmax_avx512(float* values, std::size_t size) {
  softmax_loop<16>(values, size);
}

SMOLFAST_TARGET_AVX512 uint8_t nearest_avx512(const float* point, const float* points, std::size_t size) {
  return nearest_loop<16>(point, points, size);
}

constexpr Kernels kAvx512{&add_avx512,       &add_all_avx512, &add_scaled_avx512, &dot_avx512,
                          &add_coded_avx512, &softmax_avx512, &separators_avx2,   &nearest_avx512};

#endif

}  // namespace

const Kernels& kernels() {
#if defined(SMOLFAST_X86) && defined(__GNUC__)
  const Isa isa = active_isa();
  if (isa == Isa::kAvx512) return kAvx512;
  if (isa == Isa::kAvx2) return kAvx2;
#endif
  return kBaseline;
}

}  // namespace smolfast::fasttext
