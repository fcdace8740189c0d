// The inner loops of the sweep (sweep.h), for one instruction set and dtype each.
//
// Products take a strip of `rows` numbers deep, each broadcast, times a panel of `panel` numbers deep, in registers.
// What is multiplied is a unit: a number of fp32, or two of bf16 that follow one another along the sum, the first in
// the low half. Logits and their gradients lie column of the vocabulary by column, the rows of the block side by side:
// then a softmax is an operation between vectors, and both gradients take their factors as they lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace smolfast::loss {

using Index = std::ptrdiff_t;

// Running statistics of `panel` rows of logits.
struct Running {
  float *highest, *sum_of_exponentials, *sum;
};

// What makes gradients of the logits of a row: scale · exp(logit − highest) − uniform.
struct Slopes {
  const float *highest, *scale, *uniform;
};

// Gradients of some columns' logits. `along` is [columns, rows], in units of two rows for bf16; `across` is that again
// in units of two columns [columns / 2, rows], and `along` itself for fp32. Strides count units.
template <class UNIT>
struct Gradients {
  UNIT* along;
  Index along_stride;
  UNIT* across;
  Index across_stride;
};

template <class T>
struct Kernel {
  using Unit = std::conditional_t<std::is_same_v<T, float>, float, std::uint32_t>;
  static constexpr Index kPair = sizeof(Unit) / sizeof(T);

  Index rows, panel;  // the second is a multiple of the first
  // C [rows, panel] = or += A B for B [steps, panel], aligned. A [rows, steps] lies row by row.
  void (*multiply)(const Unit* A, Index stride, const Unit* B, Index steps, float* C, Index apart, bool add);
  // C += Aᵀ B where A [steps, rows] lies step by step.
  void (*multiply_turned)(const Unit* A, Index stride, const Unit* B, Index steps, float* C, Index apart);
  // Takes logits of `columns` columns, [columns, panel] in fp32, into the statistics; they go to `to` in T.
  void (*absorb)(const float* logits, Index columns, const float* bias, T* to, Index apart, const Running& running);
  // Gradients of logits [columns, rows] for a multiple of `panel` rows.
  void (*differentiate)(const T* logits, Index columns, Index rows, const Slopes& slopes, const Gradients<Unit>& to);
};

// That of this CPU and the instruction set in use; null where there is none.
template <class T>
const Kernel<T>* kernel();
template <>
const Kernel<float>* kernel<float>();
template <>
const Kernel<std::uint16_t>* kernel<std::uint16_t>();

}  // namespace smolfast::loss
