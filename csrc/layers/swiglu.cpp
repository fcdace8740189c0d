#include "layers/swiglu.h"

#include <algorithm>

#include "base/threads.h"
#include "base/vector_loops.h"

namespace smolfast::layers {
namespace {

// Numbers a thread takes at a time.
constexpr std::size_t kSpan = 1 << 16;

// With e = exp(−|x|), which can't overflow, sigmoid(x) is 1 / (1 + e), or e / (1 + e) where x < 0. NaN stays NaN.
SMOLFAST_INLINE void forward_loop(const float* gate, const float* up, float* out, std::size_t count) {
#pragma omp simd
  for (std::size_t i = 0; i < count; ++i) {
    const float x = gate[i], small = exponential(x < 0.0f ? x : -x);
    out[i] = (x < 0.0f ? x * small : x) / (1.0f + small) * up[i];
  }
}

SMOLFAST_INLINE void backward_loop(const float* grad, const float* gate, const float* up, float* grad_gate,
                                   float* grad_up, std::size_t count) {
#pragma omp simd
  for (std::size_t i = 0; i < count; ++i) {
    const float x = gate[i], small = exponential(x < 0.0f ? x : -x);
    const float share = (x < 0.0f ? small : 1.0f) / (1.0f + small), silu = x * share;
    grad_up[i] = grad[i] * silu;
    grad_gate[i] = grad[i] * up[i] * (share + silu * (1.0f - share));
  }
}

SMOLFAST_DISPATCH(forward, forward_loop, (const float* gate, const float* up, float* out, std::size_t count),
                  (gate, up, out, count))
SMOLFAST_DISPATCH(backward, backward_loop,
                  (const float* grad, const float* gate, const float* up, float* grad_gate, float* grad_up,
                   std::size_t count),
                  (grad, gate, up, grad_gate, grad_up, count))

}  // namespace

void swiglu(const float* gate, const float* up, float* out, std::size_t count, int threads) {
  parallel_for((count + kSpan - 1) / kSpan, threads,
               [&](std::size_t task) {
                 const std::size_t at = task * kSpan;
                 forward(gate + at, up + at, out + at, std::min(kSpan, count - at));
               },
               Threads::kOpenMp);
}

void swiglu_backward(const float* grad, const float* gate, const float* up, float* grad_gate, float* grad_up,
                     std::size_t count, int threads) {
  parallel_for((count + kSpan - 1) / kSpan, threads,
               [&](std::size_t task) {
                 const std::size_t at = task * kSpan;
                 backward(grad + at, gate + at, up + at, grad_gate + at, grad_up + at, std::min(kSpan, count - at));
               },
               Threads::kOpenMp);
}

}  // namespace smolfast::layers
