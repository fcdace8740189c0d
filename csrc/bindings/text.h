#pragma once

#include <pybind11/pybind11.h>

namespace smolfast::bindings {

// The functions behind smolfast.text.
void register_text(pybind11::module_& m);

}  // namespace smolfast::bindings
