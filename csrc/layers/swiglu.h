// silu(gate) · up, and back, without the values in between.
#pragma once

#include <cstddef>

namespace smolfast::layers {

void swiglu(const float* gate, const float* up, float* out, std::size_t count, int threads);
void swiglu_backward(const float* grad, const float* gate, const float* up, float* grad_gate, float* grad_up,
                     std::size_t count, int threads);

}  // namespace smolfast::layers
