#include "bindings/layers.h"

#include <pybind11/numpy.h>

#include <cstddef>
#include <initializer_list>
#include <string>

#include "base/error.h"
#include "layers/rms_norm.h"
#include "layers/swiglu.h"

namespace smolfast::bindings {
namespace {

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style>;

void check_sizes(const char* name, py::ssize_t size, std::initializer_list<const Floats*> arrays) {
  for (const Floats* array : arrays) {
    if (array->size() != size) throw Error(std::string(name) + ": the arrays' sizes don't fit together");
  }
}

void swiglu(const Floats& gate, const Floats& up, Floats out, int threads) {
  check_sizes("swiglu", gate.size(), {&up, &out});
  float* to = out.mutable_data();
  const py::gil_scoped_release release;
  layers::swiglu(gate.data(), up.data(), to, static_cast<std::size_t>(gate.size()), threads);
}

void swiglu_backward(const Floats& grad, const Floats& gate, const Floats& up, Floats grad_gate, Floats grad_up,
                     int threads) {
  check_sizes("swiglu_backward", gate.size(), {&grad, &up, &grad_gate, &grad_up});
  float *to_gate = grad_gate.mutable_data(), *to_up = grad_up.mutable_data();
  const py::gil_scoped_release release;
  layers::swiglu_backward(grad.data(), gate.data(), up.data(), to_gate, to_up, static_cast<std::size_t>(gate.size()),
                          threads);
}

// The gradients of x and, in parts [parts, width], of the weight.
Floats rms_norm_backward(const Floats& grad, const Floats& x, const Floats& weight, const Floats& scale, Floats grad_x,
                        int threads) {
  const py::ssize_t width = weight.size(), rows = scale.size();
  check_sizes("rms_norm_backward", rows * width, {&grad, &x, &grad_x});
  const auto count = static_cast<std::size_t>(rows);
  Floats partial({static_cast<py::ssize_t>(layers::rms_norm_parts(count)), width});
  float *to_x = grad_x.mutable_data(), *to_partial = partial.mutable_data();
  const py::gil_scoped_release release;
  layers::rms_norm_backward(grad.data(), x.data(), weight.data(), scale.data(), to_x, to_partial, count,
                            static_cast<std::size_t>(width), threads);
  return partial;
}

}  // namespace

void register_layers(py::module_& m) {
  m.def("swiglu", &swiglu, py::arg("gate").noconvert(), py::arg("up").noconvert(), py::arg("out").noconvert(),
        py::arg("threads"));
  m.def("swiglu_backward", &swiglu_backward, py::arg("grad").noconvert(), py::arg("gate").noconvert(),
        py::arg("up").noconvert(), py::arg("grad_gate").noconvert(), py::arg("grad_up").noconvert(),
        py::arg("threads"));
  m.def("rms_norm_backward", &rms_norm_backward, py::arg("grad").noconvert(), py::arg("x").noconvert(),
        py::arg("weight").noconvert(), py::arg("scale").noconvert(), py::arg("grad_x").noconvert(), py::arg("threads"));
}

}  // namespace smolfast::bindings
