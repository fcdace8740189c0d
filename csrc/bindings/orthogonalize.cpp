#include "bindings/orthogonalize.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "orthogonalize/newton_schulz.h"

namespace smolfast::bindings {
namespace {

namespace py = pybind11;
using Matrix = py::array_t<float, py::array::c_style>;

void newton_schulz(std::vector<Matrix> matrices, const std::vector<std::array<float, 3>>& coefficients,
                   const std::vector<std::size_t>& parts, double eps, int threads) {
  if (!parts.empty() && std::accumulate(parts.begin(), parts.end(), std::size_t{0}) != coefficients.size()) {
    throw Error("newton_schulz: parts must add up to the number of steps");
  }
  std::vector<orthogonalize::Step> steps;
  for (const auto& [a, b, c] : coefficients) steps.push_back({a, b, c});
  std::vector<float*> pointers;
  for (Matrix& matrix : matrices) {
    if (matrix.ndim() != 2 || !std::equal(matrix.shape(), matrix.shape() + 2, matrices[0].shape())) {
      throw Error("newton_schulz: matrices must be [n, m] of one shape");
    }
    pointers.push_back(matrix.mutable_data());
  }
  if (pointers.empty()) return;
  const auto rows = static_cast<std::size_t>(matrices[0].shape(0)),
             columns = static_cast<std::size_t>(matrices[0].shape(1));
  const py::gil_scoped_release release;
  orthogonalize::newton_schulz(pointers, rows, columns, eps, steps, parts, threads);
}

}  // namespace

void register_orthogonalize(py::module_& m) {
  m.def("newton_schulz", &newton_schulz, py::arg("matrices").noconvert(), py::arg("coefficients"), py::arg("parts"),
        py::arg("eps"), py::arg("threads"));
}

}  // namespace smolfast::bindings
