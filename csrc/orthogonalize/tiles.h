// Matrices as 16 × 16 tiles, and the products of Newton–Schulz on them. Everything is inlined into functions that are
// compiled for one instruction set each. A KERNEL is such a set: kLanes, and by_column() and by_row(), functions of
// their own for the micro-kernel (inlined into more code, GCC 12 spills its sums under AVX2: 1.6 times the time).
//
// A tile lies column after column, for then no product turns or copies its right factor: A Bᵀ takes tiles along a row
// of A, whose columns it spreads, and along a row of B, whose columns are the rows of Bᵀ.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/vector_loops.h"

namespace smolfast::orthogonalize {
namespace {  // one copy for each file that includes it

constexpr std::size_t kTile = 16;
constexpr std::size_t kTileSize = kTile * kTile;

// A matrix padded with zeros: tile (i, j) lies at data + (i · wide + j) · 256.
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
  friend Vec operator+(Vec a, const Vec& b) {
    for (std::size_t i = 0; i < LANES; ++i) a.lane[i] += b.lane[i];
    return a;
  }
  friend Vec operator-(Vec a, const Vec& b) {
    for (std::size_t i = 0; i < LANES; ++i) a.lane[i] -= b.lane[i];
    return a;
  }
  friend Vec operator*(float scale, Vec a) {
    for (std::size_t i = 0; i < LANES; ++i) a.lane[i] *= scale;
    return a;
  }
  void operator+=(const Vec& other) { *this = *this + other; }
};
#endif

// Numbers that lie anywhere.
template <std::size_t LANES>
SMOLFAST_INLINE Vec<LANES> get(const float* from) {
  Vec<LANES> vec;
  std::memcpy(&vec, from, sizeof(vec));
  return vec;
}
template <std::size_t LANES>
SMOLFAST_INLINE void put(Vec<LANES> vec, float* to) {
  std::memcpy(to, &vec, sizeof(vec));
}

// std::copy_n of a tile becomes `rep movs`, which takes several times as long.
template <std::size_t LANES>
SMOLFAST_INLINE void copy_tile(const float* from, float* to) {
  for (std::size_t e = 0; e < kTileSize; e += LANES) put<LANES>(get<LANES>(from + e), to + e);
}

// Registers of LANES floats, ROWS rows of a tile at once: as many sums as there are registers for, less a few.
template <std::size_t LANES, std::size_t ROWS>
struct Micro {
  // sum = Σₜ LₜRₜ, row after row, over `count` tiles that lie one after the other. R lies row after row, L too or, if
  // BY_COLUMN, column after column.
  template <bool BY_COLUMN>
  SMOLFAST_INLINE void tile(const float* left, const float* right, std::size_t count, float* sum) {
    constexpr std::size_t kParts = (kTile + ROWS - 1) / ROWS, kRows = kTile / kParts, kMore = kTile % kParts;
    for (std::size_t i = 0; i < kMore; ++i) rows<kRows + 1, BY_COLUMN>(left, right, count, i * (kRows + 1), sum);
    for (std::size_t first = kMore * (kRows + 1); first < kTile; first += kRows) {
      rows<kRows, BY_COLUMN>(left, right, count, first, sum);
    }
  }

 private:
  template <std::size_t COUNT, bool BY_COLUMN>
  SMOLFAST_INLINE void rows(const float* left, const float* right, std::size_t count, std::size_t first, float* sum) {
    constexpr std::size_t kVecs = kTile / LANES, kRow = BY_COLUMN ? 1 : kTile, kColumn = BY_COLUMN ? kTile : 1;
    Vec<LANES> acc[COUNT][kVecs] = {};
    left += first * kRow;
    for (std::size_t t = 0; t < count; ++t, left += kTileSize) {
      for (std::size_t p = 0; p < kTile; ++p, right += kTile) {
        Vec<LANES> row[kVecs];
        for (std::size_t v = 0; v < kVecs; ++v) row[v] = get<LANES>(right + v * LANES);
        for (std::size_t r = 0; r < COUNT; ++r) {
          for (std::size_t v = 0; v < kVecs; ++v) acc[r][v] += left[r * kRow + p * kColumn] * row[v];
        }
      }
    }
    for (std::size_t r = 0; r < COUNT; ++r) {
      for (std::size_t v = 0; v < kVecs; ++v) {
        put<LANES>(acc[r][v], sum + (first + r) * kTile + v * LANES);
      }
    }
  }
};

#if defined(__GNUC__)
#if defined(__clang__)
#define SMOLFAST_SHUFFLE(mask_type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SMOLFAST_SHUFFLE(mask_type, a, b, ...) __builtin_shuffle(a, b, mask_type{__VA_ARGS__})
#endif
typedef int Int4 __attribute__((vector_size(16)));
typedef int Int8 __attribute__((vector_size(32)));
typedef int Int16 __attribute__((vector_size(64)));

// Of each four lanes of a and b: a₀ b₀ a₁ b₁ and a₂ b₂ a₃ b₃.
SMOLFAST_INLINE void mix_ones(Vec<4> a, Vec<4> b, Vec<4>* low, Vec<4>* high) {
  *low = SMOLFAST_SHUFFLE(Int4, a, b, 0, 4, 1, 5);
  *high = SMOLFAST_SHUFFLE(Int4, a, b, 2, 6, 3, 7);
}
SMOLFAST_INLINE void mix_ones(Vec<8> a, Vec<8> b, Vec<8>* low, Vec<8>* high) {
  *low = SMOLFAST_SHUFFLE(Int8, a, b, 0, 8, 1, 9, 4, 12, 5, 13);
  *high = SMOLFAST_SHUFFLE(Int8, a, b, 2, 10, 3, 11, 6, 14, 7, 15);
}
SMOLFAST_INLINE void mix_ones(Vec<16> a, Vec<16> b, Vec<16>* low, Vec<16>* high) {
  *low = SMOLFAST_SHUFFLE(Int16, a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
  *high = SMOLFAST_SHUFFLE(Int16, a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
}

// Of each four lanes: a₀ a₁ b₀ b₁ and a₂ a₃ b₂ b₃.
SMOLFAST_INLINE void mix_pairs(Vec<4> a, Vec<4> b, Vec<4>* low, Vec<4>* high) {
  *low = SMOLFAST_SHUFFLE(Int4, a, b, 0, 1, 4, 5);
  *high = SMOLFAST_SHUFFLE(Int4, a, b, 2, 3, 6, 7);
}
SMOLFAST_INLINE void mix_pairs(Vec<8> a, Vec<8> b, Vec<8>* low, Vec<8>* high) {
  *low = SMOLFAST_SHUFFLE(Int8, a, b, 0, 1, 8, 9, 4, 5, 12, 13);
  *high = SMOLFAST_SHUFFLE(Int8, a, b, 2, 3, 10, 11, 6, 7, 14, 15);
}
SMOLFAST_INLINE void mix_pairs(Vec<16> a, Vec<16> b, Vec<16>* low, Vec<16>* high) {
  *low = SMOLFAST_SHUFFLE(Int16, a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
  *high = SMOLFAST_SHUFFLE(Int16, a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}

// Blocks of four lanes of 4, 8 or 16 rows: row g's block k and row k's block g change places, for rows of one residue
// modulo 4.
SMOLFAST_INLINE void swap_blocks(Vec<4>*) {}
SMOLFAST_INLINE void swap_blocks(Vec<8>* rows) {
  for (std::size_t r = 0; r < 4; ++r) {
    const Vec<8> a = rows[r], b = rows[r + 4];
    rows[r] = SMOLFAST_SHUFFLE(Int8, a, b, 0, 1, 2, 3, 8, 9, 10, 11);
    rows[r + 4] = SMOLFAST_SHUFFLE(Int8, a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  }
}
SMOLFAST_INLINE void swap_blocks(Vec<16>* rows) {
  const auto even = [](Vec<16> a, Vec<16> b) {
    return SMOLFAST_SHUFFLE(Int16, a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
  };
  const auto odd = [](Vec<16> a, Vec<16> b) {
    return SMOLFAST_SHUFFLE(Int16, a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  };
  for (std::size_t r = 0; r < 4; ++r) {
    const Vec<16> a = rows[r], b = rows[r + 4], c = rows[r + 8], d = rows[r + 12];
    const Vec<16> first = even(a, b), second = odd(a, b), third = even(c, d), fourth = odd(c, d);
    rows[r] = even(first, third);
    rows[r + 4] = even(second, fourth);
    rows[r + 8] = odd(first, third);
    rows[r + 12] = odd(second, fourth);
  }
}
#endif

// Four rows at a time within blocks of four lanes, which shuffles are fast in, then whole blocks.
template <std::size_t LANES>
SMOLFAST_INLINE void transpose_tile(const float* from, float* to) {
#if defined(__GNUC__)
  for (std::size_t i = 0; i < kTile; i += LANES) {
    for (std::size_t j = 0; j < kTile; j += LANES) {
      Vec<LANES> rows[LANES];
      for (std::size_t r = 0; r < LANES; ++r) rows[r] = get<LANES>(from + (i + r) * kTile + j);
      for (std::size_t r = 0; r < LANES; r += 4) {
        Vec<LANES> a, b, c, d;
        mix_ones(rows[r], rows[r + 1], &a, &b);
        mix_ones(rows[r + 2], rows[r + 3], &c, &d);
        mix_pairs(a, c, rows + r, rows + r + 1);
        mix_pairs(b, d, rows + r + 2, rows + r + 3);
      }
      swap_blocks(rows);
      for (std::size_t r = 0; r < LANES; ++r) put<LANES>(rows[r], to + (j + r) * kTile + i);
    }
  }
#else
  for (std::size_t r = 0; r < kTile; ++r) {
    for (std::size_t c = 0; c < kTile; ++c) to[c * kTile + r] = from[r * kTile + c];
  }
#endif
}

// Turns each tile of row i.
template <class KERNEL>
SMOLFAST_INLINE void turn_strip(const Tiles& X, std::size_t i) {
  alignas(64) float turned[kTileSize];
  for (std::size_t j = 0; j < X.wide; ++j) {
    transpose_tile<KERNEL::kLanes>(X.tile(i, j), turned);
    copy_tile<KERNEL::kLanes>(turned, X.tile(i, j));
  }
}

// The terms beside the product in OUT = alpha · A Bᵀ + beta · C + gamma · I.
struct Terms {
  float alpha = 1.0f, beta = 0.0f, gamma = 0.0f;
  const float* C = nullptr;  // symmetric, in tiles as many as OUT's
};

// Column j of tiles on and below the diagonal, and row j beyond it, of OUT = alpha · A Bᵀ + beta · C + gamma · I, known
// to be symmetric. OUT is neither A nor B.
template <class KERNEL>
SMOLFAST_INLINE void symmetric(const Tiles& A, const Tiles& B, const Terms& terms, const Tiles& OUT, std::size_t j) {
  constexpr std::size_t kLanes = KERNEL::kLanes;
  alignas(64) float diagonal[kTileSize];
  for (std::size_t i = j; i < OUT.tall; ++i) {
    float* out = OUT.tile(j, i);  // which lies as tile (i, j) does row after row
    KERNEL::by_column(A.tile(i, 0), B.tile(j, 0), A.wide, i == j ? diagonal : out);
    if (i == j) transpose_tile<kLanes>(diagonal, out);
    if (terms.C != nullptr) {
      const float* add = terms.C + (j * OUT.wide + i) * kTileSize;
      for (std::size_t e = 0; e < kTileSize; e += kLanes) {
        put<kLanes>(terms.alpha * get<kLanes>(out + e) + terms.beta * get<kLanes>(add + e), out + e);
      }
    }
    if (i == j) {
      for (std::size_t r = 0; r < kTile; ++r) out[r * kTile + r] += terms.gamma;
    } else {
      transpose_tile<kLanes>(out, OUT.tile(i, j));
    }
  }
}

// Column j of tiles of X ← A X + scale · X for square A; `panel` holds X.tall tiles.
template <class KERNEL>
SMOLFAST_INLINE void multiply(const Tiles& A, float scale, const Tiles& X, float* panel, std::size_t j) {
  constexpr std::size_t kLanes = KERNEL::kLanes;
  for (std::size_t t = 0; t < X.tall; ++t) copy_tile<kLanes>(X.tile(t, j), panel + t * kTileSize);
  for (std::size_t i = 0; i < X.tall; ++i) {
    float* sum = X.tile(i, j);
    KERNEL::by_row(panel, A.tile(i, 0), X.tall, sum);  // the tile turned, which is how it lies
    if (scale != 0.0f) {
      const float* old = panel + i * kTileSize;
      for (std::size_t e = 0; e < kTileSize; e += kLanes) {
        put<kLanes>(get<kLanes>(sum + e) + scale * get<kLanes>(old + e), sum + e);
      }
    }
  }
}

}  // namespace
}  // namespace smolfast::orthogonalize
