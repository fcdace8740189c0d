#include "layers/rms_norm.h"

#include <algorithm>

#include "base/threads.h"
#include "base/vector_loops.h"

namespace smolfast::layers {
namespace {

// Rows a thread takes at a time.
constexpr std::size_t kRows = 256;

// With x̂ = x · scale and g the gradient: the weight's is Σ g·x̂ over rows, x's (g·weight − x̂ · mean(g·x̂·weight)) ·
// scale.
SMOLFAST_INLINE void backward_loop(const float* grad, const float* x, const float* weight, const float* scale,
                                   float* grad_x, float* partial, std::size_t rows, std::size_t width) {
  std::fill_n(partial, width, 0.0f);
  for (std::size_t row = 0; row < rows; ++row, grad += width, x += width, grad_x += width) {
    const float by = scale[row];
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (std::size_t i = 0; i < width; ++i) {
      const float product = grad[i] * (x[i] * by);
      partial[i] += product;
      sum += product * weight[i];
    }
    const float mean = sum / static_cast<float>(width);
#pragma omp simd
    for (std::size_t i = 0; i < width; ++i) grad_x[i] = (grad[i] * weight[i] - x[i] * by * mean) * by;
  }
}

SMOLFAST_DISPATCH(backward, backward_loop,
                  (const float* grad, const float* x, const float* weight, const float* scale, float* grad_x,
                   float* partial, std::size_t rows, std::size_t width),
                  (grad, x, weight, scale, grad_x, partial, rows, width))

}  // namespace

std::size_t rms_norm_parts(std::size_t rows) {
  return (rows + kRows - 1) / kRows;
}

void rms_norm_backward(const float* grad, const float* x, const float* weight, const float* scale, float* grad_x,
                       float* partial, std::size_t rows, std::size_t width, int threads) {
  parallel_for(
      rms_norm_parts(rows), threads,
      [&](std::size_t part) {
        const std::size_t top = part * kRows, at = top * width;
        backward(grad + at, x + at, weight, scale + top, grad_x + at, partial + part * width,
                 std::min(kRows, rows - top), width);
      },
      Threads::kOpenMp);
}

}  // namespace smolfast::layers
