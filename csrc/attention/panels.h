// Matrices as panels two vectors wide, and the two products of attention on them. Everything is inlined into functions
// compiled for one instruction set each; a KERNEL is such a set: a Micro whose products are functions of their own
// (inlined into more code, GCC 12 spills their sums).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/vector_loops.h"

namespace smolfast::attention {
namespace {  // one copy for each file that includes it

using Index = std::ptrdiff_t;

// Panel p holds columns [p · width, (p + 1) · width) of a matrix of `rows` rows, a row after the other.
struct Panels {
  float* data;
  Index rows, width;

  float* at(Index panel, Index row) const { return data + (panel * rows + row) * width; }
};

SMOLFAST_INLINE Index ceil_div(Index count, Index by) {
  return (count + by - 1) / by;
}

template <Index LANES, Index ROWS>
struct Micro {
  using Vec = Floats<LANES>;
  static constexpr Index kLanes = LANES, kRows = ROWS, kPanel = 2 * LANES;

  // C = A B for kRows rows of the panels A, from its panel 0 on and of `rows` rows, and a panel B of `steps` rows.
  SMOLFAST_INLINE void product(const float* A, Index rows, const float* B, Index steps, float* C) {
    Vec sums[ROWS][2] = {};
    for (; steps > 0; steps -= kPanel, A += rows * kPanel) {
      const Index end = std::min(steps, kPanel);
      for (Index t = 0; t < end; ++t, B += kPanel) add<kPanel>(A + t, B, sums);
    }
    store(sums, C);
  }

  // C += Aᵀ B for kRows columns of a panel A and a panel B, of `steps` rows each.
  SMOLFAST_INLINE void add_transposed(const float* A, const float* B, Index steps, float* C) {
    Vec sums[ROWS][2];
#pragma GCC unroll 8
    for (Index r = 0; r < ROWS; ++r) {
      for (Index v = 0; v < 2; ++v) sums[r][v] = reinterpret_cast<const Vec*>(C)[2 * r + v];
    }
    for (; steps > 0; --steps, A += kPanel, B += kPanel) add<1>(A, B, sums);
    store(sums, C);
  }

 private:
  template <Index STRIDE>
  SMOLFAST_INLINE void add(const float* a, const float* b, Vec (&sums)[ROWS][2]) {
    const Vec left = reinterpret_cast<const Vec*>(b)[0], right = reinterpret_cast<const Vec*>(b)[1];
#pragma GCC unroll 8
    for (Index r = 0; r < ROWS; ++r) {
      sums[r][0] += a[r * STRIDE] * left;
      sums[r][1] += a[r * STRIDE] * right;
    }
  }

  SMOLFAST_INLINE void store(const Vec (&sums)[ROWS][2], float* C) {
#pragma GCC unroll 8
    for (Index r = 0; r < ROWS; ++r) {
      for (Index v = 0; v < 2; ++v) reinterpret_cast<Vec*>(C)[2 * r + v] = sums[r][v];
    }
  }
};

template <class VEC>
SMOLFAST_INLINE VEC larger(VEC a, VEC b) {
  return a > b ? a : b;
}

// All lanes in one, half with half.
template <std::size_t LANES, class VEC>
SMOLFAST_INLINE float sum_of(VEC vec) {
  if constexpr (LANES == 1) {
    return vec;
  } else {
    Floats<LANES / 2> half[2];
    std::memcpy(half, &vec, sizeof vec);
    return sum_of<LANES / 2>(half[0] + half[1]);
  }
}

template <std::size_t LANES, class VEC>
SMOLFAST_INLINE float highest_of(VEC vec) {
  if constexpr (LANES == 1) {
    return vec;
  } else {
    Floats<LANES / 2> half[2];
    std::memcpy(half, &vec, sizeof vec);
    return highest_of<LANES / 2>(larger(half[0], half[1]));
  }
}

}  // namespace
}  // namespace smolfast::attention
