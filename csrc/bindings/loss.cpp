#include "bindings/loss.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

#include "base/error.h"
#include "loss/softmax_gradient.h"
#include "loss/sweep.h"

namespace smolfast::bindings {
namespace {

namespace py = pybind11;
template <class T>
using Array = py::array_t<T, py::array::c_style>;

// A column of numbers for each row, [rows].
void check_terms(const std::string& name, py::ssize_t rows, std::initializer_list<const Array<float>*> terms) {
  for (const Array<float>* each : terms) {
    if (each->ndim() != 1 || each->shape(0) != rows) throw Error(name + ": a term isn't [rows]");
  }
}

// What is learnt about rows of logits, and room for what is found out.
class Rows {
 public:
  Rows(const std::string& name, py::ssize_t rows, py::ssize_t width, const Array<float>& partition,
       const Array<float>& partition_lse, const Array<float>& uniform, const Array<std::int64_t>& columns,
       const Array<float>& values)
      : lse_(rows), highest_(rows), sum_(rows) {
    check_terms(name, rows, {&partition, &partition_lse, &uniform});
    if (columns.ndim() != 2 || values.ndim() != 2 || columns.shape(0) != rows || values.shape(0) != rows ||
        values.shape(1) != columns.shape(1)) {
      throw Error(name + ": columns and values must be [rows, pairs]");
    }
    const std::int64_t* first = columns.data();
    if (std::any_of(first, first + columns.size(),
                    [&](std::int64_t column) { return column < 0 || column >= width; })) {
      throw Error(name + ": a column is outside the logits");
    }
    at_columns_ = Array<float>(std::array<py::ssize_t, 2>{rows, columns.shape(1)});
    terms = {partition.data(), partition_lse.data(),
             uniform.data(),   first,
             values.data(),    static_cast<std::size_t>(columns.shape(1))};
    statistics = {lse_.mutable_data(), highest_.mutable_data(), sum_.mutable_data(), at_columns_.mutable_data()};
  }

  // Log-sum-exp, maximum and sum [rows], and the logits at the columns of the pairs [rows, pairs].
  py::tuple found() const { return py::make_tuple(lse_, highest_, sum_, at_columns_); }

  loss::Terms terms{};
  loss::Statistics statistics{};

 private:
  Array<float> lse_, highest_, sum_, at_columns_;
};

// [rows, width] whose rows may lie apart.
template <class T>
bool is_rows(const py::array_t<T, 0>& array) {
  const auto item = static_cast<py::ssize_t>(sizeof(T));
  return array.ndim() == 2 && (array.strides(1) == item || array.shape(1) <= 1) &&
         array.strides(0) >= array.shape(1) * item && array.strides(0) % item == 0;
}

// Turns logits [rows, width] (fp32, or the bits of bf16; rows may lie apart) where they lie.
template <class T>
py::tuple softmax_gradient(py::array_t<T, 0> logits, const Array<float>& partition, const Array<float>& partition_lse,
                           const Array<float>& uniform, const Array<std::int64_t>& columns, const Array<float>& values,
                           int threads) {
  const std::string name = "softmax_gradient";
  if (!is_rows(logits)) throw Error(name + ": logits must be [rows, width], the numbers of a row side by side");
  const py::ssize_t count = logits.shape(0), width = logits.shape(1);
  const Rows rows(name, count, width, partition, partition_lse, uniform, columns, values);
  const loss::Logits<T> all{logits.mutable_data(), static_cast<std::size_t>(count), static_cast<std::size_t>(width),
                            static_cast<std::size_t>(logits.strides(0)) / sizeof(T)};
  {
    const py::gil_scoped_release release;
    loss::softmax_gradient(all, rows.terms, rows.statistics, threads);
  }
  return rows.found();
}

// Writes dx [rows, width], adds to dw [vocabulary, width] and db [vocabulary], None where not wanted. `logits` is room
// for the rows, filled up to a multiple of 96, times the vocabulary.
template <class T>
py::tuple loss_sweep(const py::array_t<T, 0>& hidden, const py::array_t<T, 0>& weight,
                     const std::optional<Array<float>>& bias, const Array<float>& partition,
                     const Array<float>& partition_lse, const Array<float>& uniform, const Array<std::int64_t>& columns,
                     const Array<float>& values, Array<T> logits, std::optional<Array<T>> dx,
                     std::optional<Array<float>> dw, std::optional<Array<float>> db, int threads) {
  const std::string name = "loss_sweep";
  if (!loss::sweeps<T>()) throw Error(name + ": not with this CPU's instructions");
  if (!is_rows(hidden) || !is_rows(weight) || hidden.shape(1) != weight.shape(1)) {
    throw Error(name + ": hidden and weight must be [rows, width], the numbers of a row side by side");
  }
  const auto item = static_cast<py::ssize_t>(sizeof(T));
  const py::ssize_t count = hidden.shape(0), width = hidden.shape(1), vocabulary = weight.shape(0);
  const Rows rows(name, count, vocabulary, partition, partition_lse, uniform, columns, values);
  if (static_cast<std::size_t>(logits.size()) < loss::stored_rows<T>(count) * vocabulary) {
    throw Error(name + ": too little room for the logits");
  }
  const auto fits = [](const auto& array, py::ssize_t tall, py::ssize_t wide) {
    return !array || (array->ndim() == 2 && array->shape(0) == tall && array->shape(1) == wide);
  };
  const auto fits_vocabulary = [&](const auto& array) {
    return !array || (array->ndim() == 1 && array->shape(0) == vocabulary);
  };
  if (!fits(dx, count, width) || !fits(dw, vocabulary, width) || !fits_vocabulary(db) || !fits_vocabulary(bias)) {
    throw Error(name + ": bias and gradients must have the shapes of what they belong to");
  }
  const loss::Factors<T> factors{hidden.data(),
                                 static_cast<std::size_t>(hidden.strides(0) / item),
                                 weight.data(),
                                 static_cast<std::size_t>(weight.strides(0) / item),
                                 bias ? bias->data() : nullptr,
                                 static_cast<std::size_t>(count),
                                 static_cast<std::size_t>(vocabulary),
                                 static_cast<std::size_t>(width)};
  const loss::Into<T> into{dx ? dx->mutable_data() : nullptr, dw ? dw->mutable_data() : nullptr,
                           db ? db->mutable_data() : nullptr};
  T* room = logits.mutable_data();
  {
    const py::gil_scoped_release release;
    loss::sweep(factors, rows.terms, rows.statistics, room, into, threads);
  }
  return rows.found();
}

template <class T>
void define(py::module_& m) {
  m.def("softmax_gradient", &softmax_gradient<T>, py::arg("logits").noconvert(), py::arg("partition").noconvert(),
        py::arg("partition_lse").noconvert(), py::arg("uniform").noconvert(), py::arg("columns").noconvert(),
        py::arg("values").noconvert(), py::arg("threads"));
  m.def("loss_sweep", &loss_sweep<T>, py::arg("hidden").noconvert(), py::arg("weight").noconvert(), py::arg("bias"),
        py::arg("partition").noconvert(), py::arg("partition_lse").noconvert(), py::arg("uniform").noconvert(),
        py::arg("columns").noconvert(), py::arg("values").noconvert(), py::arg("logits").noconvert(),
        py::arg("dx").noconvert(), py::arg("dw").noconvert(), py::arg("db").noconvert(), py::arg("threads"));
}

}  // namespace

void register_loss(py::module_& m) {
  define<float>(m);
  define<std::uint16_t>(m);
  m.def(
      "loss_sweeps", [](bool bf16) { return bf16 ? loss::sweeps<std::uint16_t>() : loss::sweeps<float>(); },
      py::arg("bf16"));
}

}  // namespace smolfast::bindings
