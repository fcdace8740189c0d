#include "bindings/orthogonalize.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "orthogonalize/newton_schulz.h"

namespace smolfast::bindings {
namespace {

namespace py = pybind11;
using Values = py::array_t<float, py::array::c_style>;
using Parts = std::vector<std::size_t>;
using Coefficients = std::vector<std::array<float, 3>>;
using orthogonalize::Matrix;

std::vector<orthogonalize::Step> steps_of(const Coefficients& coefficients) {
  std::vector<orthogonalize::Step> steps;
  for (const auto& [a, b, c] : coefficients) steps.push_back({a, b, c});
  return steps;
}

void check(const Parts& parts, const Coefficients& coefficients) {
  if (!parts.empty() && std::accumulate(parts.begin(), parts.end(), std::size_t{0}) != coefficients.size()) {
    throw Error("newton_schulz: parts must add up to the number of steps");
  }
}

void check_alike(const Values& a, const Values& b) {
  if (a.ndim() != 3 || b.ndim() != 3 || !std::equal(a.shape(), a.shape() + 3, b.shape())) {
    throw Error("newton_schulz: arrays must be [matrices, n, m] of one shape");
  }
}

void newton_schulz(const Values& from, Values to, const Coefficients& coefficients, const Parts& parts, double eps,
                   int threads) {
  check(parts, coefficients);
  check_alike(from, to);
  const auto rows = static_cast<std::size_t>(from.shape(1)), columns = static_cast<std::size_t>(from.shape(2));
  std::vector<Matrix> matrices;
  for (py::ssize_t i = 0; i < from.shape(0); ++i) {
    matrices.push_back(
        {.rows = rows, .columns = columns, .from = from.data(i), .to = to.mutable_data(i), .parts = parts});
  }
  const auto steps = steps_of(coefficients);
  const py::gil_scoped_release release;
  orthogonalize::newton_schulz(matrices, eps, steps, threads);
}

// weight, gradient, momentum [matrices, n, m]; and for each block of rows: how many, the update's ratio, parts.
using Parameter = std::tuple<Values, Values, Values, std::vector<std::tuple<std::size_t, float, Parts>>>;

void muon_step(std::vector<Parameter> parameters, const Coefficients& coefficients, double eps, float momentum,
               float blend, bool nesterov, float rate, float keep, bool cautious, int threads) {
  std::vector<Matrix> matrices;
  for (auto& [weight, gradient, buffer, blocks] : parameters) {
    check_alike(weight, gradient);
    check_alike(weight, buffer);
    const auto columns = static_cast<std::size_t>(weight.shape(2));
    float *to = weight.mutable_data(), *kept = buffer.mutable_data();
    const float* from = gradient.data();
    for (py::ssize_t i = 0; i < weight.shape(0); ++i) {
      std::size_t left = static_cast<std::size_t>(weight.shape(1));
      for (const auto& [rows, ratio, parts] : blocks) {
        check(parts, coefficients);
        if (rows > left) throw Error("muon_step: blocks must add up to the rows");
        matrices.push_back({rows, columns, from, to, kept, ratio, parts});
        left -= rows;
        from += rows * columns, to += rows * columns, kept += rows * columns;
      }
      if (left > 0) throw Error("muon_step: blocks must add up to the rows");
    }
  }
  const orthogonalize::Muon how{momentum, blend, nesterov, rate, keep, cautious};
  const auto steps = steps_of(coefficients);
  const py::gil_scoped_release release;
  orthogonalize::newton_schulz(matrices, eps, steps, threads, &how);
}

}  // namespace

void register_orthogonalize(py::module_& m) {
  m.def("newton_schulz", &newton_schulz, py::arg("source").noconvert(), py::arg("result").noconvert(),
        py::arg("coefficients"), py::arg("parts"), py::arg("eps"), py::arg("threads"));
  m.def("muon_step", &muon_step, py::arg("parameters").noconvert(), py::arg("coefficients"), py::arg("eps"),
        py::arg("momentum"), py::arg("blend"), py::arg("nesterov"), py::arg("rate"), py::arg("keep"),
        py::arg("cautious"), py::arg("threads"));
}

}  // namespace smolfast::bindings
