#include "bindings/loss.h"

#include <pybind11/numpy.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/error.h"
#include "loss/softmax_gradient.h"

namespace smolfast::bindings {
namespace {

namespace py = pybind11;
template <class T>
using Array = py::array_t<T, py::array::c_style>;

// Turns logits [rows, width] (fp32, or the bits of bf16; rows may lie apart) where they lie; gives their log-sum-exp,
// maximum and sum [rows], and those at the columns of the pairs [rows, pairs].
template <class T>
py::tuple softmax_gradient(py::array_t<T, 0> logits, const Array<float>& partition, const Array<float>& partition_lse,
                           const Array<float>& uniform, const Array<std::int64_t>& columns, const Array<float>& values,
                           int threads) {
  if (logits.ndim() != 2 || columns.ndim() != 2 || values.ndim() != 2) {
    throw Error("softmax_gradient: logits must be [rows, width], columns and values [rows, pairs]");
  }
  const py::ssize_t rows = logits.shape(0), width = logits.shape(1), pairs = columns.shape(1);
  const auto item = static_cast<py::ssize_t>(sizeof(T));
  if (logits.strides(1) != item || logits.strides(0) < width * item || logits.strides(0) % item != 0) {
    throw Error("softmax_gradient: the numbers of a row of logits must lie side by side");
  }
  for (const auto* each : {&partition, &partition_lse, &uniform}) {
    if (each->ndim() != 1 || each->shape(0) != rows) throw Error("softmax_gradient: a term isn't [rows]");
  }
  if (columns.shape(0) != rows || values.shape(0) != rows || values.shape(1) != pairs) {
    throw Error("softmax_gradient: columns and values must be [rows, pairs]");
  }
  const std::int64_t* first = columns.data();
  if (std::any_of(first, first + columns.size(), [&](std::int64_t column) { return column < 0 || column >= width; })) {
    throw Error("softmax_gradient: a column is outside the logits");
  }
  Array<float> lse(rows), highest(rows), sum(rows), at_columns(std::array<py::ssize_t, 2>{rows, pairs});
  T* data = logits.mutable_data();
  const auto stride = static_cast<std::size_t>(logits.strides(0) / item);
  const loss::Terms terms{partition.data(), partition_lse.data(),           uniform.data(), first,
                          values.data(),    static_cast<std::size_t>(pairs)};
  const loss::Statistics statistics{lse.mutable_data(), highest.mutable_data(), sum.mutable_data(),
                                    at_columns.mutable_data()};
  {
    const py::gil_scoped_release release;
    const loss::Logits<T> all{data, static_cast<std::size_t>(rows), static_cast<std::size_t>(width), stride};
    loss::softmax_gradient(all, terms, statistics, threads);
  }
  return py::make_tuple(lse, highest, sum, at_columns);
}

template <class T>
void define(py::module_& m) {
  m.def("softmax_gradient", &softmax_gradient<T>, py::arg("logits").noconvert(), py::arg("partition").noconvert(),
        py::arg("partition_lse").noconvert(), py::arg("uniform").noconvert(), py::arg("columns").noconvert(),
        py::arg("values").noconvert(), py::arg("threads"));
}

}  // namespace

void register_loss(py::module_& m) {
  define<float>(m);
  define<std::uint16_t>(m);
}

}  // namespace smolfast::bindings
