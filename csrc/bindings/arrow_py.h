// Strings across the Python boundary: anything Arrow, or a list of str, in; an object with __arrow_c_array__ out.
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

#include "arrow/column.h"

namespace smolfast::bindings {

namespace py = pybind11;

// The chunks of a string column taken from Python, without a copy. Holds what keeps the buffers alive; create and
// destroy it with the GIL held, read it without.
class ImportedStrings {
 public:
  // `argument` is the name that errors use. Accepts objects with __arrow_c_stream__ or __arrow_c_array__, and lists or
  // tuples of str and None. A str with a lone surrogate is an Error naming its index.
  ImportedStrings(py::handle source, const char* argument);
  ~ImportedStrings();
  ImportedStrings(const ImportedStrings&) = delete;
  ImportedStrings& operator=(const ImportedStrings&) = delete;

  const std::vector<arrow::StringColumn>& chunks() const { return chunks_; }
  int64_t size() const;
  // Whether the strings came from Python and are therefore valid UTF-8.
  bool decoded() const { return static_cast<bool>(keep_alive_); }
  // The Arrow format and the chunks, checked, as objects with __arrow_c_array__; this is empty after.
  py::tuple hand_on();

 private:
  void take_stream(py::handle source);
  void take_array(py::handle source);
  void decode_dictionaries();
  void take_sequence(py::handle source, const char* argument);

  ArrowSchema schema_{};
  std::vector<ArrowArray> arrays_;
  py::object keep_alive_;
  std::vector<std::string_view> rows_;
  std::vector<arrow::StringColumn> chunks_;
};

// One large-utf8 array on its way to Python; `pyarrow.array(x)` takes it without a copy, once.
py::object export_strings(arrow::StringBuilder& builder);
// The same for a finished array and its schema, which are moved from.
py::object export_strings(ArrowArray& array, ArrowSchema& schema);

void register_arrow(py::module_& m);

}  // namespace smolfast::bindings
