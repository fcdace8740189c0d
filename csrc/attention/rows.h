// Which rows and keys a task works on, and how they get from tensors into panels and back.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "attention/attention.h"
#include "attention/panels.h"

namespace smolfast::attention {
namespace {  // one copy for each file that includes it

struct Range {
  Index begin, end;
};

// The rows [first, last) of one sequence and key head, position by position and head by head within it; and the keys
// from `base` on that they see.
struct Part {
  const Problem& problem;
  const Sequence& sequence;
  Index kv_head, first, last;
  Index base = 0, keys = 0;

  Part(const Problem& of, Index sequence_index, Index head, Index begin, Index end, Index panel)
      : problem(of), sequence(of.sequences[sequence_index]), kv_head(head), first(begin), last(end) {
    if (begin == end) return;
    const Range seen = visible(begin / of.group, (end - 1) / of.group);
    base = seen.begin / panel * panel;
    keys = std::max<Index>(seen.end - base, 0);
  }

  // Keys from `base` on that queries from `low` to `high` see; empty or turned around if they see none.
  Range visible(Index low, Index high) const {
    const Index shift = sequence.keys - sequence.queries;
    const Index left = problem.left < 0 ? 0 : std::clamp<Index>(low + shift - problem.left, 0, sequence.keys);
    const Index right =
        problem.right < 0 ? sequence.keys : std::clamp<Index>(high + shift + problem.right + 1, 0, sequence.keys);
    return {left - base, right - base};
  }

  Index key_offset(const Tensor& x, Index key) const {
    return sequence.batch * x.batch + (sequence.first_key + base + key) * x.token + kv_head * x.head;
  }
  Index key_table(Index key) const { return sequence.table + base + key; }
};

// One query row: its place in its sequence and its head.
struct Row {
  Index query, head;

  Index offset(const Part& part, const Tensor& x) const {
    return part.sequence.batch * x.batch + (part.sequence.first_query + query) * x.token + head * x.head;
  }
  Index offset(const Part& part, const Statistics& x) const {
    return part.sequence.batch * x.batch + head * x.head + part.sequence.first_query + query;
  }
  Index table(const Part& part) const {
    return part.sequence.table + part.sequence.keys - part.sequence.queries + query;
  }
};

// Rows of tensors

SMOLFAST_INLINE void rotate(const Problem& problem, Index table, float sign, float* row) {
  const Index rotary = problem.rotary;
  const float *cos = problem.cos + table * rotary, *sin = problem.sin + table * rotary;
#pragma omp simd
  for (Index i = 0; i < rotary; ++i) {
    const float a = row[i], b = row[i + rotary], turn = sign * sin[i];
    row[i] = a * cos[i] - b * turn;
    row[i + rotary] = b * cos[i] + a * turn;
  }
}

// A head's numbers, rotated by a row of the tables (−1 for no rotation), times scale, and zeros up to `padded`.
SMOLFAST_INLINE void load(const Problem& problem, const Tensor& x, Index offset, Index table, float scale, float* row,
                          Index padded) {
  const Index width = problem.width;
  if (problem.bf16) {
    const auto* from = static_cast<const std::uint16_t*>(x.data) + offset;
#pragma omp simd
    for (Index d = 0; d < width; ++d) row[d] = std::bit_cast<float>(static_cast<std::uint32_t>(from[d]) << 16);
  } else {
    std::copy_n(static_cast<const float*>(x.data) + offset, width, row);
  }
  if (problem.cos != nullptr && table >= 0) rotate(problem, table, 1.0f, row);
  if (scale != 1.0f) {
#pragma omp simd
    for (Index d = 0; d < width; ++d) row[d] *= scale;
  }
  std::fill(row + width, row + padded, 0.0f);
}

// The other way: rotated back, in x's dtype (the nearest, ties to even; NaN stays NaN). Changes the row.
SMOLFAST_INLINE void store(const Problem& problem, float* row, float scale, Index table, const Tensor& x,
                           Index offset) {
  const Index width = problem.width;
#pragma omp simd
  for (Index d = 0; d < width; ++d) row[d] *= scale;
  if (problem.cos != nullptr && table >= 0) rotate(problem, table, -1.0f, row);
  auto* data = const_cast<void*>(x.data);
  if (!problem.bf16) {
    std::copy_n(row, width, static_cast<float*>(data) + offset);
    return;
  }
  auto* to = static_cast<std::uint16_t*>(data) + offset;
#pragma omp simd
  for (Index d = 0; d < width; ++d) {
    const auto bits = std::bit_cast<std::uint32_t>(row[d]);
    const std::uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    to[d] = static_cast<std::uint16_t>((bits & 0x7FFFFFFF) > 0x7F800000 ? 0x7FC0 : rounded);
  }
}

// Panels of rows

// Keys or values as the matrix [width, keys], for products over the width.
template <class KERNEL>
SMOLFAST_INLINE void pack_columns(const Part& part, const Tensor& x, bool rotated, float* row, const Panels& to) {
  constexpr Index kPanel = KERNEL::kPanel;
  const Index width = part.problem.width;
  if (part.keys % kPanel != 0) std::fill_n(to.at(part.keys / kPanel, 0), width * kPanel, 0.0f);
  for (Index key = 0; key < part.keys; ++key) {
    load(part.problem, x, part.key_offset(x, key), rotated ? part.key_table(key) : -1, 1.0f, row, width);
    float* column = to.at(key / kPanel, 0) + key % kPanel;
    for (Index d = 0; d < width; ++d) column[d * kPanel] = row[d];
  }
}

// A row of the matrix [rows, width].
template <class KERNEL>
SMOLFAST_INLINE void pack_row(const float* row, Index at, const Panels& to, Index panels) {
  for (Index p = 0; p < panels; ++p) std::copy_n(row + p * KERNEL::kPanel, KERNEL::kPanel, to.at(p, at));
}
template <class KERNEL>
SMOLFAST_INLINE void unpack_row(const Panels& from, Index at, float* row, Index panels) {
  for (Index p = 0; p < panels; ++p) std::copy_n(from.at(p, at), KERNEL::kPanel, row + p * KERNEL::kPanel);
}

// Keys or values as the matrix [keys, width], for products over the keys.
template <class KERNEL>
SMOLFAST_INLINE void pack_rows(const Part& part, const Tensor& x, bool rotated, float* row, const Panels& to) {
  const Index panels = ceil_div(part.problem.width, KERNEL::kPanel), padded = panels * KERNEL::kPanel;
  for (Index key = 0; key < to.rows; ++key) {
    if (key < part.keys) {
      load(part.problem, x, part.key_offset(x, key), rotated ? part.key_table(key) : -1, 1.0f, row, padded);
    } else {
      std::fill_n(row, padded, 0.0f);
    }
    pack_row<KERNEL>(row, key, to, panels);
  }
}

}  // namespace
}  // namespace smolfast::attention
