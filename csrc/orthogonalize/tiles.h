// Matrices as 16 × 16 tiles, and the products of Newton–Schulz on them. Everything is inlined into functions that are
// compiled for one instruction set each. A KERNEL is such a set: kLanes, and tile(), a function of its own for the
// micro-kernel (inlined into more code, GCC 12 spills its sums under AVX2: 1.6 times the time).
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/vector_loops.h"

namespace smolfast::orthogonalize {
namespace {  // one copy for each file that includes it

constexpr std::size_t kTile = 16;
constexpr std::size_t kTileSize = kTile * kTile;

// A matrix padded with zeros: tile (i, j) lies at data + (i · wide + j) · 256, row-major.
struct Tiles {
  float* data;
  std::size_t tall, wide;

  float* tile(std::size_t i, std::size_t j) const { return data + (i * wide + j) * kTileSize; }
};

#if defined(__GNUC__)
template <std::size_t LANES>
struct VecOf {
  typedef float type __attribute__((vector_size(LANES * sizeof(float)), may_alias));
};
template <std::size_t LANES>
using Vec = typename VecOf<LANES>::type;
#else
template <std::size_t LANES>
struct Vec {
  float lane[LANES];
  void operator+=(const Vec& other) {
    for (std::size_t i = 0; i < LANES; ++i) lane[i] += other.lane[i];
  }
  friend Vec operator*(float scale, Vec vec) {
    for (std::size_t i = 0; i < LANES; ++i) vec.lane[i] *= scale;
    return vec;
  }
};
#endif

// Registers of LANES floats, ROWS rows of a tile at once: as many sums as there are registers for, less a few.
template <std::size_t LANES, std::size_t ROWS>
struct Micro {
  // sum = strip i of A times a panel of A.wide tiles.
  SMOLFAST_INLINE void tile(const Tiles& A, std::size_t i, const float* panel, float* sum) {
    constexpr std::size_t kLast = kTile % ROWS;
    for (std::size_t first = 0; first + ROWS <= kTile; first += ROWS) rows<ROWS>(A, i, panel, first, sum);
    if constexpr (kLast != 0) rows<kLast>(A, i, panel, kTile - kLast, sum);
  }

 private:
  template <std::size_t COUNT>
  SMOLFAST_INLINE void rows(const Tiles& A, std::size_t i, const float* panel, std::size_t first, float* sum) {
    constexpr std::size_t kVecs = kTile / LANES;
    Vec<LANES> acc[COUNT][kVecs] = {};
    const float* left = A.tile(i, 0) + first * kTile;
    for (std::size_t t = 0; t < A.wide; ++t, left += kTileSize) {
      for (std::size_t p = 0; p < kTile; ++p, panel += kTile) {
        Vec<LANES> right[kVecs];
        for (std::size_t v = 0; v < kVecs; ++v) right[v] = reinterpret_cast<const Vec<LANES>*>(panel)[v];
        for (std::size_t r = 0; r < COUNT; ++r) {
          for (std::size_t v = 0; v < kVecs; ++v) acc[r][v] += left[r * kTile + p] * right[v];
        }
      }
    }
    for (std::size_t r = 0; r < COUNT; ++r) {
      for (std::size_t v = 0; v < kVecs; ++v) {
        reinterpret_cast<Vec<LANES>*>(sum + (first + r) * kTile)[v] = acc[r][v];
      }
    }
  }
};

#if defined(__clang__)
#define SMOLFAST_SHUFFLE(mask_type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SMOLFAST_SHUFFLE(mask_type, a, b, ...) __builtin_shuffle(a, b, mask_type{__VA_ARGS__})
#endif

#if defined(__GNUC__)
typedef int Int4 __attribute__((vector_size(16)));
typedef int Int8 __attribute__((vector_size(32)));
typedef int Int16 __attribute__((vector_size(64)));

SMOLFAST_INLINE void interleave(Vec<4> a, Vec<4> b, Vec<4>* to) {
  to[0] = SMOLFAST_SHUFFLE(Int4, a, b, 0, 4, 1, 5);
  to[1] = SMOLFAST_SHUFFLE(Int4, a, b, 2, 6, 3, 7);
}
SMOLFAST_INLINE void interleave(Vec<8> a, Vec<8> b, Vec<8>* to) {
  to[0] = SMOLFAST_SHUFFLE(Int8, a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  to[1] = SMOLFAST_SHUFFLE(Int8, a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}
SMOLFAST_INLINE void interleave(Vec<16> a, Vec<16> b, Vec<16>* to) {
  to[0] = SMOLFAST_SHUFFLE(Int16, a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  to[1] = SMOLFAST_SHUFFLE(Int16, a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
#endif

// Interleaving rows r and r + LANES / 2, log₂ LANES times over, transposes a block of LANES × LANES.
template <std::size_t LANES>
SMOLFAST_INLINE void transpose_tile(const float* from, float* to) {
#if defined(__GNUC__)
  for (std::size_t i = 0; i < kTile; i += LANES) {
    for (std::size_t j = 0; j < kTile; j += LANES) {
      Vec<LANES> rows[LANES], mixed[LANES];
      for (std::size_t r = 0; r < LANES; ++r) {
        rows[r] = *reinterpret_cast<const Vec<LANES>*>(from + (i + r) * kTile + j);
      }
      for (std::size_t round = 1; round < LANES; round *= 2) {
        for (std::size_t r = 0; r < LANES / 2; ++r) interleave(rows[r], rows[r + LANES / 2], mixed + 2 * r);
        for (std::size_t r = 0; r < LANES; ++r) rows[r] = mixed[r];
      }
      for (std::size_t r = 0; r < LANES; ++r) *reinterpret_cast<Vec<LANES>*>(to + (j + r) * kTile + i) = rows[r];
    }
  }
#else
  for (std::size_t r = 0; r < kTile; ++r) {
    for (std::size_t c = 0; c < kTile; ++c) to[c * kTile + r] = from[r * kTile + c];
  }
#endif
}

// One of `size` threads that work on one matrix. Index i is its own if it comes up when counting to and fro: the long
// and the short rows of a triangle are then shared out evenly.
struct Member {
  std::size_t rank, size;

  bool owns(std::size_t i) const { return (i / size % 2 ? size - 1 - i % size : i % size) == rank; }
};

// The terms beside the product in OUT = alpha · A B + beta · C + gamma · I.
struct Terms {
  float alpha = 1.0f, beta = 0.0f, gamma = 0.0f;
  const Tiles* C = nullptr;
};

// OUT = alpha · A B + beta · C + gamma · I, known to be symmetric, where B is Aᵀ if `transposed` and otherwise
// symmetric. OUT is neither A nor B; `panel` holds A.wide tiles.
template <class KERNEL>
SMOLFAST_INLINE void symmetric(const Tiles& A, const Tiles& B, bool transposed, const Terms& terms, const Tiles& OUT,
                               float* panel, const Member& member) {
  alignas(64) float sum[kTileSize];
  for (std::size_t j = 0; j < OUT.wide; ++j) {
    if (!member.owns(j)) continue;
    for (std::size_t t = 0; t < A.wide; ++t) {
      if (transposed) {
        transpose_tile<KERNEL::kLanes>(A.tile(j, t), panel + t * kTileSize);
      } else {
        std::copy_n(B.tile(t, j), kTileSize, panel + t * kTileSize);
      }
    }
    for (std::size_t i = j; i < OUT.tall; ++i) {
      KERNEL::tile(A, i, panel, sum);
      if (terms.C != nullptr) {
        const float* add = terms.C->tile(i, j);
        for (std::size_t e = 0; e < kTileSize; ++e) sum[e] = terms.alpha * sum[e] + terms.beta * add[e];
      }
      if (i == j) {
        for (std::size_t r = 0; r < kTile; ++r) sum[r * kTile + r] += terms.gamma;
      } else {
        transpose_tile<KERNEL::kLanes>(sum, OUT.tile(j, i));
      }
      std::copy_n(sum, kTileSize, OUT.tile(i, j));
    }
  }
}

// X ← A X + scale · X for square A, a panel of X after the other; `panel` holds A.wide tiles.
template <class KERNEL>
SMOLFAST_INLINE void multiply(const Tiles& A, float scale, const Tiles& X, float* panel, const Member& member) {
  alignas(64) float sum[kTileSize];
  for (std::size_t j = 0; j < X.wide; ++j) {
    if (!member.owns(j)) continue;
    for (std::size_t t = 0; t < X.tall; ++t) std::copy_n(X.tile(t, j), kTileSize, panel + t * kTileSize);
    for (std::size_t i = 0; i < X.tall; ++i) {
      KERNEL::tile(A, i, panel, sum);
      if (scale != 0.0f) {
        const float* old = panel + i * kTileSize;
        for (std::size_t e = 0; e < kTileSize; ++e) sum[e] += scale * old[e];
      }
      std::copy_n(sum, kTileSize, X.tile(i, j));
    }
  }
}

// Tiles of scale · matrix, or of its transpose if `flipped`.
template <class KERNEL>
SMOLFAST_INLINE void load(const float* matrix, std::size_t rows, std::size_t columns, bool flipped, float scale,
                          const Tiles& X, const Member& member) {
  alignas(64) float tile[kTileSize];
  for (std::size_t row = 0; row < rows; row += kTile) {
    if (!member.owns(row / kTile)) continue;
    for (std::size_t column = 0; column < columns; column += kTile) {
      const std::size_t height = std::min(kTile, rows - row), width = std::min(kTile, columns - column);
      if (height < kTile || width < kTile) std::fill_n(tile, kTileSize, 0.0f);
      for (std::size_t r = 0; r < height; ++r) {
        const float* from = matrix + (row + r) * columns + column;
        for (std::size_t c = 0; c < width; ++c) tile[r * kTile + c] = scale * from[c];
      }
      if (flipped) {
        transpose_tile<KERNEL::kLanes>(tile, X.tile(column / kTile, row / kTile));
      } else {
        std::copy_n(tile, kTileSize, X.tile(row / kTile, column / kTile));
      }
    }
  }
}

template <class KERNEL>
SMOLFAST_INLINE void store(const Tiles& X, std::size_t rows, std::size_t columns, bool flipped, float* matrix,
                           const Member& member) {
  alignas(64) float turned[kTileSize];
  for (std::size_t row = 0; row < rows; row += kTile) {
    if (!member.owns(row / kTile)) continue;
    for (std::size_t column = 0; column < columns; column += kTile) {
      const float* tile = flipped ? X.tile(column / kTile, row / kTile) : X.tile(row / kTile, column / kTile);
      if (flipped) {
        transpose_tile<KERNEL::kLanes>(tile, turned);
        tile = turned;
      }
      const std::size_t height = std::min(kTile, rows - row), width = std::min(kTile, columns - column);
      for (std::size_t r = 0; r < height; ++r)
        std::copy_n(tile + r * kTile, width, matrix + (row + r) * columns + column);
    }
  }
}

}  // namespace
}  // namespace smolfast::orthogonalize
