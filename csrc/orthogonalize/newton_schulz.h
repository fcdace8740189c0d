// Newton–Schulz orthogonalisation of fp32 matrices on the CPU, alone and inside Muon's step.
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

// Muon's step on a weight W with gradient G and momentum M:
//   M ← M + (1 − momentum) (G − M)
//   U = G + momentum (M − G) if nesterov, else M
//   W ← keep · W − rate · ratio · newton_schulz(U), where `cautious` keeps all of W that differs in sign from the step
struct Muon {
  float momentum, blend;  // blend: 1 − momentum
  bool nesterov;
  float rate, keep;
  bool cautious;
};

// Row-major, each in one piece.
struct Matrix {
  std::size_t rows, columns;
  const float* from;          // X, or the gradient
  float* to;                  // the result, or the weight; may be `from`
  float* momentum = nullptr;  // for Muon
  float ratio = 1.0f;         // for Muon
  // Cuts the steps for the Gram form, which starts each part from X anew; empty for the plain form.
  std::span<const std::size_t> parts;
};

// The singular values of each X / max(‖X‖_F, eps) go through one polynomial a step; with `muon`, that is what happens
// to the weights.
//
// Each thread works on a matrix of its own, the costliest first, and helps with those under way when none is left. The
// bits of a result depend on neither `threads` nor the other matrices. Beyond the matrices it takes, for each thread,
// nm + 2n² (plain) or nm + 4n² (Gram) numbers of the largest matrix, n ≤ m, and 16 n. Throws std::bad_alloc.
void newton_schulz(std::span<const Matrix> matrices, double eps, std::span<const Step> steps, int threads,
                   const Muon* muon = nullptr);

}  // namespace smolfast::orthogonalize
