// The middle of a linear cross-entropy: rows of logits become the gradient of the loss, where they lie.
#pragma once

#include <cstddef>
#include <cstdint>

namespace smolfast::loss {

// Row r begins at data + r · stride, stride ≥ width.
template <class T>
struct Logits {
  T* data;
  std::size_t rows, width, stride;
};

// What the gradient of row r is made of, with p its softmax and lse its log-sum-exp:
//
//     (partition[r] + partition_lse[r] · lse) · p − uniform[r] + Σ over its pairs of value at column
//
// Every row has `pairs` of them; a column may come up more than once.
struct Terms {
  const float* partition;
  const float* partition_lse;
  const float* uniform;
  const std::int64_t* columns;  // [rows, pairs], within the row
  const float* values;          // [rows, pairs]
  std::size_t pairs;
};

// What is left of the logits: of each row their log-sum-exp, maximum and sum, and those at its columns [rows, pairs].
struct Statistics {
  float* lse;
  float* highest;
  float* sum;
  float* at_columns;
};

// Turns logits into their gradient: fp32, or bf16 given by its bits, whose gradients are rounded once. Sums are fp32.
void softmax_gradient(const Logits<float>& logits, const Terms& terms, const Statistics& statistics, int threads);
void softmax_gradient(const Logits<std::uint16_t>& logits, const Terms& terms, const Statistics& statistics,
                      int threads);

}  // namespace smolfast::loss
