// Newton–Schulz orthogonalisation of fp32 matrices on the CPU.
//
// Matrices are kept as 16 × 16 tiles of 1 KiB, so that one micro-kernel streams both of its operands, and symmetric
// products (XXᵀ, bA + cA², PRP) compute the tiles on and below the diagonal and mirror the rest. The vendor's GEMM does
// all of their operations, and each of its calls sends a small matrix through the caches again.
#pragma once

#include <cstddef>
#include <span>

namespace smolfast::orthogonalize {

struct Step {
  float a, b, c;  // σ → aσ + bσ³ + cσ⁵
};

// Replaces each row-major matrix of rows × columns: the singular values of X / max(‖X‖_F, eps) go through one
// polynomial a step. `parts` cuts the steps for the Gram form, which starts each part from X anew; empty for the plain
// form.
//
// Each thread works on a matrix of its own, and all of them together on those left over. The bits of a result depend on
// neither `threads` nor the other matrices. Beyond the matrices it takes nm + 2n² (plain) or nm + 4n² (Gram) numbers
// for each matrix in work, n ≤ m, and 16 m a thread. Throws std::bad_alloc.
void newton_schulz(std::span<float* const> matrices, std::size_t rows, std::size_t columns, double eps,
                   std::span<const Step> steps, std::span<const std::size_t> parts, int threads);

}  // namespace smolfast::orthogonalize
