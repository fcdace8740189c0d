// Gradients of RMSNorm, x · scale · weight with scale = 1 / rms of each row.
#pragma once

#include <cstddef>

namespace smolfast::layers {

// x, grad and grad_x [rows, width]; weight [width], scale [rows]; partial [rms_norm_parts(rows), width], whose sum over
// parts is the weight's gradient. The parts don't depend on the threads.
void rms_norm_backward(const float* grad, const float* x, const float* weight, const float* scale, float* grad_x,
                       float* partial, std::size_t rows, std::size_t width, int threads);
std::size_t rms_norm_parts(std::size_t rows);

}  // namespace smolfast::layers
