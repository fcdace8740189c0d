// Pages of PDF files for Python.
#pragma once

#include <pybind11/pybind11.h>

namespace smolfast::bindings {

void register_layout(pybind11::module_& m);

}  // namespace smolfast::bindings
