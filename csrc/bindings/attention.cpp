#include "bindings/attention.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "attention/attention.h"
#include "base/error.h"

namespace smolfast::bindings {
namespace {

namespace py = pybind11;
using Statistic = py::array_t<float, py::array::c_style>;
using Lengths = py::array_t<std::int64_t, py::array::c_style>;

// [batch, tokens, heads, width] whose heads' numbers lie side by side.
attention::Tensor tensor(const py::array& array, const py::array& like, py::ssize_t tokens, py::ssize_t heads) {
  const bool fits = array.ndim() == 4 && array.dtype().is(like.dtype()) && array.shape(0) == like.shape(0) &&
                    array.shape(1) == tokens && array.shape(2) == heads && array.shape(3) == like.shape(3);
  const py::ssize_t item = array.itemsize();
  if (!fits || (array.strides(3) != item && array.shape(3) > 1 && array.size() > 0)) {
    throw Error("attention: arrays must be [batch, tokens, heads, width], of shapes and dtypes that fit together");
  }
  return {array.data(), array.strides(0) / item, array.strides(1) / item, array.strides(2) / item};
}

attention::Statistics statistics(const Statistic& array, const py::array& q) {
  if (array.ndim() != 3 || array.shape(0) != q.shape(0) || array.shape(1) != q.shape(2) ||
      array.shape(2) != q.shape(1)) {
    throw Error("attention: statistics must be [batch, query heads, queries]");
  }
  return {const_cast<float*>(array.data()), array.shape(1) * array.shape(2), array.shape(2)};
}

// What both passes are told.
struct Inputs {
  py::array q, k, v;
  std::optional<Lengths> query_starts, key_starts;  // of packed sequences, each with the end of the last
  std::optional<Statistic> cos, sin;                // [keys of all sequences or of one, rotary]
  std::optional<Statistic> sinks;                   // [query heads]
  float scale;
  py::ssize_t left, right;

  std::vector<attention::Sequence> sequences{};

  attention::Problem problem() {
    const bool bf16 = q.dtype().is(py::dtype::of<std::uint16_t>());
    if (q.ndim() != 4 || k.ndim() != 4 || !(bf16 || q.dtype().is(py::dtype::of<float>())) || k.shape(2) == 0 ||
        q.shape(2) % k.shape(2) != 0 || q.shape(3) > attention::kWidest) {
      throw Error("attention: q must be [batch, tokens, heads, width], fp32 or the bits of bf16, in whole groups");
    }
    find_sequences();
    attention::Problem found{tensor(q, q, q.shape(1), q.shape(2)),
                             tensor(k, q, k.shape(1), k.shape(2)),
                             tensor(v, q, k.shape(1), k.shape(2)),
                             bf16,
                             k.shape(2),
                             q.shape(2) / k.shape(2),
                             q.shape(3),
                             scale,
                             left,
                             right,
                             nullptr,
                             nullptr,
                             0,
                             sinks ? sinks->data() : nullptr,
                             sequences};
    if (sinks && sinks->size() != q.shape(2)) throw Error("attention: sinks must be [query heads]");
    if (cos && sin) {
      const py::ssize_t rows = cos->ndim() == 2 ? cos->shape(0) : -1;
      if (sin->ndim() != 2 || sin->shape(0) != rows || sin->shape(1) != cos->shape(1) ||
          2 * cos->shape(1) > q.shape(3) || (rows != k.shape(1) && rows != k.shape(0) * k.shape(1))) {
        throw Error("attention: rotary tables must be [keys, at most half the width]");
      }
      found.cos = cos->data();
      found.sin = sin->data();
      found.rotary = cos->shape(1);
    }
    return found;
  }

 private:
  void find_sequences() {
    sequences.clear();
    if (query_starts && key_starts) {
      const py::ssize_t ends = query_starts->size();
      const std::int64_t *queries = query_starts->data(), *keys = key_starts->data();
      bool fit = q.shape(0) == 1 && ends > 0 && key_starts->size() == ends && queries[0] == 0 && keys[0] == 0 &&
                 queries[ends - 1] == q.shape(1) && keys[ends - 1] == k.shape(1);
      for (py::ssize_t s = 0; fit && s + 1 < ends; ++s) {
        fit = queries[s] <= queries[s + 1] && keys[s] <= keys[s + 1];
        sequences.push_back({0, queries[s], queries[s + 1] - queries[s], keys[s], keys[s + 1] - keys[s], keys[s]});
      }
      if (!fit) throw Error("attention: lengths must rise from 0 to the tokens of q and k");
    } else {
      const bool own_tables = cos && cos->ndim() == 2 && cos->shape(0) != k.shape(1);
      for (py::ssize_t b = 0; b < q.shape(0); ++b) {
        sequences.push_back({b, 0, q.shape(1), 0, k.shape(1), own_tables ? b * k.shape(1) : 0});
      }
    }
    if (cos) {
      for (const attention::Sequence& each : sequences) {
        if (each.queries > each.keys) throw Error("attention: rotation needs at least as many keys as queries");
      }
    }
  }
};

void attention_forward(Inputs& inputs, py::array out, Statistic lse, std::optional<Statistic> max_logit, int threads) {
  const attention::Problem problem = inputs.problem();
  const attention::Tensor to = tensor(out, inputs.q, inputs.q.shape(1), inputs.q.shape(2));
  const attention::Statistics sums = statistics(lse, inputs.q);
  if (max_logit && max_logit->size() != inputs.q.shape(2)) throw Error("attention: max_logit must be [query heads]");
  float* highest = max_logit ? max_logit->mutable_data() : nullptr;
  const py::gil_scoped_release release;
  attention::forward(problem, to, sums, highest, threads);
}

void attention_backward(Inputs& inputs, const py::array& grad_out, const Statistic& lse,
                        const std::optional<Statistic>& grad_lse, py::array dq, py::array dk, py::array dv,
                        int threads) {
  const attention::Problem problem = inputs.problem();
  const py::ssize_t queries = inputs.q.shape(1), heads = inputs.q.shape(2), keys = inputs.k.shape(1);
  const attention::Tensor grad = tensor(grad_out, inputs.q, queries, heads);
  const attention::Tensor to_q = tensor(dq, inputs.q, queries, heads);
  const attention::Tensor to_k = tensor(dk, inputs.q, keys, problem.heads);
  const attention::Tensor to_v = tensor(dv, inputs.q, keys, problem.heads);
  const attention::Statistics sums = statistics(lse, inputs.q);
  attention::Statistics slopes{nullptr, 0, 0};
  if (grad_lse) slopes = statistics(*grad_lse, inputs.q);
  const py::gil_scoped_release release;
  attention::backward(problem, grad, sums, slopes, to_q, to_k, to_v, threads);
}

}  // namespace

void register_attention(py::module_& m) {
  py::class_<Inputs>(m, "AttentionInputs")
      .def(py::init([](py::array q, py::array k, py::array v, std::optional<Lengths> query_starts,
                       std::optional<Lengths> key_starts, std::optional<Statistic> cos, std::optional<Statistic> sin,
                       std::optional<Statistic> sinks, float scale, py::ssize_t left, py::ssize_t right) {
             return Inputs{std::move(q),
                           std::move(k),
                           std::move(v),
                           std::move(query_starts),
                           std::move(key_starts),
                           std::move(cos),
                           std::move(sin),
                           std::move(sinks),
                           scale,
                           left,
                           right};
           }),
           py::arg("q"), py::arg("k"), py::arg("v"), py::arg("query_starts"), py::arg("key_starts"), py::arg("cos"),
           py::arg("sin"), py::arg("sinks"), py::arg("scale"), py::arg("left"), py::arg("right"));
  m.def("attention_forward", &attention_forward, py::arg("inputs"), py::arg("out"), py::arg("lse").noconvert(),
        py::arg("max_logit"), py::arg("threads"));
  m.def("attention_backward", &attention_backward, py::arg("inputs"), py::arg("grad_out"), py::arg("lse"),
        py::arg("grad_lse"), py::arg("dq"), py::arg("dk"), py::arg("dv"), py::arg("threads"));
}

}  // namespace smolfast::bindings
