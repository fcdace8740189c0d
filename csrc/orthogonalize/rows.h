// How matrices come into tiles and go back, a strip of 16 rows at a time, and what Muon does to them on the way. Rows
// are read and written from end to end, for the sake of the prefetcher.
#pragma once

#include <algorithm>
#include <cstddef>

#include "orthogonalize/newton_schulz.h"
#include "orthogonalize/tiles.h"

namespace smolfast::orthogonalize {
namespace {

// As torch's lerp: exact at both ends.
template <std::size_t LANES>
SMOLFAST_INLINE Vec<LANES> blended(Vec<LANES> start, Vec<LANES> end, float weight) {
  return weight < 0.5f ? start + weight * (end - start) : end - (1.0f - weight) * (end - start);
}

// A row of a tile, from the matrix.
template <std::size_t LANES>
SMOLFAST_INLINE void take(const float* from, float* momentum, const Muon* muon, float* to) {
  for (std::size_t c = 0; c < kTile; c += LANES) {
    Vec<LANES> value = get<LANES>(from + c);
    if (muon != nullptr) {
      const Vec<LANES> kept = blended<LANES>(get<LANES>(momentum + c), value, muon->blend);
      put<LANES>(kept, momentum + c);
      value = muon->nesterov ? blended<LANES>(value, kept, muon->momentum) : kept;
    }
    put<LANES>(value, to + c);
  }
}

// A row of a tile, to the matrix.
template <std::size_t LANES>
SMOLFAST_INLINE void give(const float* from, const Muon* muon, float ratio, float* to) {
  for (std::size_t c = 0; c < kTile; c += LANES) {
    Vec<LANES> value = get<LANES>(from + c);
    if (muon != nullptr) {
      const Vec<LANES> weight = get<LANES>(to + c), step = ratio * value;
      Vec<LANES> kept = muon->keep * weight;
      if (muon->cautious) {
        float now[LANES], along[LANES], less[LANES];
        put<LANES>(weight, now), put<LANES>(step, along), put<LANES>(kept, less);
        for (std::size_t i = 0; i < LANES; ++i) less[i] = now[i] * along[i] > 0.0f ? less[i] : now[i];
        kept = get<LANES>(less);
      }
      value = kept - muon->rate * step;
    }
    put<LANES>(value, to + c);
  }
}

// Adds the squares of a tile to eight sums; in double they can neither overflow nor vanish.
SMOLFAST_INLINE void add_squares(const float* tile, double* sums) {
  double own[8];
  for (std::size_t lane = 0; lane < 8; ++lane) own[lane] = sums[lane];
  for (std::size_t e = 0; e < kTileSize; e += 8) {
    for (std::size_t lane = 0; lane < 8; ++lane) own[lane] += static_cast<double>(tile[e + lane]) * tile[e + lane];
  }
  for (std::size_t lane = 0; lane < 8; ++lane) sums[lane] = own[lane];
}

// Where the numbers of tile j of a strip of the matrix lie in X, or in Xᵀ where the matrix is tall.
SMOLFAST_INLINE float* tile_of(const Tiles& X, bool tall, std::size_t strip, std::size_t j) {
  return tall ? X.tile(j, strip) : X.tile(strip, j);
}

// Tiles of X = the matrix, or of its transpose where it's tall; returns the strip's sum of squares.
template <class KERNEL>
SMOLFAST_INLINE double load(const Matrix& matrix, const Muon* muon, bool tall, const Tiles& X, std::size_t strip) {
  constexpr std::size_t kLanes = KERNEL::kLanes;
  const std::size_t columns = matrix.columns, tiles = (columns + kTile - 1) / kTile, first = strip * kTile;
  for (std::size_t r = 0; r < kTile; ++r) {
    for (std::size_t j = 0; j < tiles; ++j) {
      float* to = tile_of(X, tall, strip, j) + r * kTile;
      const std::size_t width = first + r < matrix.rows ? std::min(kTile, columns - j * kTile) : 0;
      const std::size_t at = width == 0 ? 0 : (first + r) * columns + j * kTile;
      float* momentum = muon == nullptr ? nullptr : matrix.momentum + at;
      if (width == kTile) {
        take<kLanes>(matrix.from + at, momentum, muon, to);
      } else {
        float edge[kTile] = {}, kept[kTile] = {};
        std::copy_n(matrix.from + at, width, edge);
        if (muon != nullptr) std::copy_n(momentum, width, kept);
        take<kLanes>(edge, kept, muon, to);
        if (muon != nullptr) std::copy_n(kept, width, momentum);
      }
    }
  }
  double sums[8] = {};
  for (std::size_t j = 0; j < tiles; ++j) add_squares(tile_of(X, tall, strip, j), sums);
  if (!tall) turn_strip<KERNEL>(X, strip);
  double sum = 0;
  for (const double part : sums) sum += part;
  return sum;
}

// The way back; X is spent.
template <class KERNEL>
SMOLFAST_INLINE void store(const Matrix& matrix, const Muon* muon, bool tall, const Tiles& X, std::size_t strip) {
  constexpr std::size_t kLanes = KERNEL::kLanes;
  const std::size_t columns = matrix.columns, tiles = (columns + kTile - 1) / kTile, first = strip * kTile;
  if (!tall) turn_strip<KERNEL>(X, strip);
  for (std::size_t r = 0; r < kTile && first + r < matrix.rows; ++r) {
    for (std::size_t j = 0; j < tiles; ++j) {
      const float* from = tile_of(X, tall, strip, j) + r * kTile;
      float* to = matrix.to + (first + r) * columns + j * kTile;
      const std::size_t width = std::min(kTile, columns - j * kTile);
      if (width == kTile) {
        give<kLanes>(from, muon, matrix.ratio, to);
      } else {
        float edge[kTile] = {};
        std::copy_n(to, width, edge);
        give<kLanes>(from, muon, matrix.ratio, edge);
        std::copy_n(edge, width, to);
      }
    }
  }
}

}  // namespace
}  // namespace smolfast::orthogonalize
