// The one native module, smolfast._native. Each part registers itself; the GIL and error types end at this floor.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <exception>

#include "base/cpu.h"
#include "base/error.h"
#include "base/threads.h"
#include "bindings/arrow_py.h"
#include "bindings/attention.h"
#include "bindings/bpe.h"
#include "bindings/classify.h"
#include "bindings/dedup.h"
#include "bindings/filters.h"
#include "bindings/layers.h"
#include "bindings/layout.h"
#include "bindings/loss.h"
#include "bindings/orthogonalize.h"
#include "bindings/text.h"

namespace py = pybind11;

namespace smolfast::bindings {
namespace {

void translate_errors(std::exception_ptr error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const Error& e) {
    const py::object type = py::module_::import("smolfast.errors").attr("SmolfastError");
    PyErr_SetString(type.ptr(), e.what());
  }
}

void register_base(py::module_& m) {
  py::register_exception_translator(&translate_errors);
  m.def("implementation", [] { return isa_name(active_isa()); });
  m.def("implementations", [] {
    py::list names;
    for (const Isa isa : supported_isas()) names.append(isa_name(isa));
    return names;
  });
  m.def("force_implementation", &force_isa, py::arg("name"));
  m.def("available_threads", &available_threads);
}

}  // namespace
}  // namespace smolfast::bindings

PYBIND11_MODULE(_native, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
  using namespace smolfast::bindings;
  register_base(m);
  register_arrow(m);
  register_attention(m);
  register_bpe(m);
  register_classify(m);
  register_dedup(m);
  register_filters(m);
  register_layers(m);
  register_layout(m);
  register_loss(m);
  register_orthogonalize(m);
  register_text(m);
}
