// MinHash signatures, band keys and clusters for Python.
#pragma once

#include <pybind11/pybind11.h>

namespace smolfast::bindings {

void register_dedup(pybind11::module_& m);

}  // namespace smolfast::bindings
