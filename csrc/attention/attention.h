// Attention of whole sequences on a CPU, forward and backward: every score of a block of query rows is kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace smolfast::attention {

constexpr std::ptrdiff_t kWidest = 256;  // numbers of a head

// [batch, token, head, width] of fp32, or of the bits of bf16; strides count numbers, and a head's lie side by side.
struct Tensor {
  const void* data;
  std::ptrdiff_t batch, token, head;
};

// Queries and keys of one sequence, and the row of the rotary tables of its first key.
struct Sequence {
  std::ptrdiff_t batch, first_query, queries, first_key, keys, table;
};

// What forward and backward are told alike. Key k is visible to query i if i + keys − queries − left ≤ k ≤ i + keys −
// queries + right; a negative bound is none.
struct Problem {
  Tensor q, k, v;
  bool bf16;
  std::ptrdiff_t heads, group, width;  // key heads, query heads for each, and the numbers of a head
  float scale;
  std::ptrdiff_t left, right;
  const float *cos, *sin;  // [rows, rotary], a row for each key; the queries take the last. Null for no rotation
  std::ptrdiff_t rotary;
  const float* sinks;  // a score of each query head that has no value; null for none
  std::span<const Sequence> sequences;
};

// Outputs have q's or k's dtype and batch and token strides of their own; statistics are [batch, query head, `tokens`].
struct Statistics {
  float* data;
  std::ptrdiff_t batch, head;
};

// Rows that see nothing get zeros and a log-sum-exp of −∞, or the sink. max_logit [query heads] may be null; it is
// raised to the largest visible score of each head, and NaN where one is NaN (or +∞).
void forward(const Problem& problem, const Tensor& out, const Statistics& lse, float* max_logit, int threads);

// The sinks' own gradients aren't computed. grad_lse.data may be null.
void backward(const Problem& problem, const Tensor& grad_out, const Statistics& lse, const Statistics& grad_lse,
              const Tensor& dq, const Tensor& dk, const Tensor& dv, int threads);

}  // namespace smolfast::attention
