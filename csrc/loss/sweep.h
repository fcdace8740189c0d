// A linear cross-entropy and its gradients, from one visit to the logits of a block of rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "loss/softmax_gradient.h"

namespace smolfast::loss {

// Rows [rows, width] of hidden states and the unembedding [vocabulary, width], fp32 or bf16 given by its bits; the
// numbers of a row lie side by side.
template <class T>
struct Factors {
  const T* hidden;
  std::size_t hidden_stride;
  const T* weight;
  std::size_t weight_stride;
  const float* bias;  // null for none
  std::size_t rows, vocabulary, width;
};

// Where gradients go, [rows, width], [vocabulary, width] and [vocabulary]; null where they aren't wanted. The last two
// are added to.
template <class T>
struct Into {
  T* hidden;
  float* weight;
  float* bias;
};

// Rows that logits of a block are stored for.
template <class T>
std::size_t stored_rows(std::size_t rows);

// Whether this CPU has instructions for it, among those in use.
template <class T>
bool sweeps();

// `logits` has room for stored_rows(rows) · vocabulary numbers. What is rounded to T: logits, their gradients, and
// those of the hidden states; sums are fp32. Up to eight threads give the same.
template <class T>
void sweep(const Factors<T>& factors, const Terms& terms, const Statistics& statistics, T* logits, const Into<T>& into,
           int threads);

}  // namespace smolfast::loss
