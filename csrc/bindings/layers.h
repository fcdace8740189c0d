// Parts of a transformer's layers on the CPU for Python.
#pragma once

#include <pybind11/pybind11.h>

namespace smolfast::bindings {

void register_layers(pybind11::module_& m);

}  // namespace smolfast::bindings
