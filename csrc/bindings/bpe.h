// Tokenizers learned from texts, for Python.
#pragma once

#include <pybind11/pybind11.h>

namespace smolfast::bindings {

void register_bpe(pybind11::module_& m);

}  // namespace smolfast::bindings
