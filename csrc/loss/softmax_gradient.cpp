// A row is read three times, from the cache after the first: for its maximum, for its exponentials, and to scale them.
// At V = 49,152 that takes an AVX-512 core 0.02 ms a row, where the same in whole-tensor operations takes 0.2.
#include "loss/softmax_gradient.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "base/bf16.h"
#include "base/threads.h"
#include "base/vector_loops.h"

namespace smolfast::loss {
namespace {

// Rows a thread takes at a time.
constexpr std::size_t kRows = 4;
// Columns whose sum is taken by itself, so that errors don't grow with the width.
constexpr std::size_t kSummed = 1024;

// One row. `scratch` holds width numbers, and is the row itself if that is fp32; `added` holds terms.pairs.
template <class T>
SMOLFAST_INLINE void turn_row(T* row, std::size_t width, std::size_t r, const Terms& terms,
                              const Statistics& statistics, float* scratch, float* added) {
  const std::int64_t* columns = terms.columns + r * terms.pairs;
  const float* values = terms.values + r * terms.pairs;
  float* at_columns = statistics.at_columns + r * terms.pairs;
  for (std::size_t e = 0; e < terms.pairs; ++e) at_columns[e] = widen(row[columns[e]]);

  float highest = -std::numeric_limits<float>::infinity(), sum = 0.0f, total = 0.0f;
  for (std::size_t first = 0; first < width; first += kSummed) {
    const std::size_t end = std::min(width, first + kSummed);
    float part = 0.0f;
#pragma omp simd reduction(max : highest) reduction(+ : part)
    for (std::size_t c = first; c < end; ++c) {
      const float z = widen(row[c]);
      highest = z > highest ? z : highest;
      part += z;
    }
    sum += part;
  }
  for (std::size_t first = 0; first < width; first += kSummed) {
    const std::size_t end = std::min(width, first + kSummed);
    float part = 0.0f;
#pragma omp simd reduction(+ : part)
    for (std::size_t c = first; c < end; ++c) {
      const float e = exponential(widen(row[c]) - highest);
      scratch[c] = e;
      part += e;
    }
    total += part;
  }
  const float lse = highest + std::log(total);
  statistics.lse[r] = lse;
  statistics.highest[r] = highest;
  statistics.sum[r] = sum;

  const float scale = (terms.partition[r] + terms.partition_lse[r] * lse) / total, uniform = terms.uniform[r];
#pragma omp simd
  for (std::size_t c = 0; c < width; ++c) narrow(scale * scratch[c] - uniform, row[c]);
  if constexpr (std::is_same_v<T, float>) {
    for (std::size_t e = 0; e < terms.pairs; ++e) row[columns[e]] += values[e];
  } else {  // in fp32 before the rounding, those of one column together
    for (std::size_t e = 0; e < terms.pairs; ++e) added[e] = scale * scratch[columns[e]] - uniform;
    for (std::size_t e = 0; e < terms.pairs; ++e) scratch[columns[e]] = added[e];
    for (std::size_t e = 0; e < terms.pairs; ++e) scratch[columns[e]] += values[e];
    for (std::size_t e = 0; e < terms.pairs; ++e) narrow(scratch[columns[e]], row[columns[e]]);
  }
}

#define SMOLFAST_TURN(T)                                                                                          \
  SMOLFAST_DISPATCH(turn, turn_row,                                                                               \
                    (T * row, std::size_t width, std::size_t r, const Terms& terms, const Statistics& statistics, \
                     float* scratch, float* added),                                                               \
                    (row, width, r, terms, statistics, scratch, added))
SMOLFAST_TURN(float)
SMOLFAST_TURN(std::uint16_t)
#undef SMOLFAST_TURN

template <class T>
void turn_rows(const Logits<T>& logits, const Terms& terms, const Statistics& statistics, int threads) {
  const std::size_t width = logits.width;
  parallel_for((logits.rows + kRows - 1) / kRows, threads,
               [&](std::size_t task) {
                 constexpr bool kInPlace = std::is_same_v<T, float>;
                 std::vector<float> scratch(kInPlace ? 0 : width + terms.pairs);
                 for (std::size_t r = task * kRows; r < std::min(logits.rows, (task + 1) * kRows); ++r) {
                   T* row = logits.data + r * logits.stride;
                   if constexpr (kInPlace) {
                     turn(row, width, r, terms, statistics, row, nullptr);
                   } else {
                     turn(row, width, r, terms, statistics, scratch.data(), scratch.data() + width);
                   }
                 }
               },
               Threads::kOpenMp);
}

}  // namespace

void softmax_gradient(const Logits<float>& logits, const Terms& terms, const Statistics& statistics, int threads) {
  turn_rows(logits, terms, statistics, threads);
}

void softmax_gradient(const Logits<std::uint16_t>& logits, const Terms& terms, const Statistics& statistics,
                      int threads) {
  turn_rows(logits, terms, statistics, threads);
}

}  // namespace smolfast::loss
