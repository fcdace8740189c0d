#include "bindings/arrow_py.h"

#include <memory>
#include <string>

#include "base/error.h"

namespace smolfast::bindings {
namespace {

template <typename T>
T* capsule_pointer(const py::object& capsule, const char* name) {
  auto* pointer = static_cast<T*>(PyCapsule_GetPointer(capsule.ptr(), name));
  if (pointer == nullptr) {
    PyErr_Clear();
    throw Error("the Arrow column gave no capsule named " + std::string(name) + "; update the library that made it");
  }
  return pointer;
}

// Moves an Arrow struct out of its capsule, which then releases nothing.
template <typename T>
T take(T* from) {
  T moved = *from;
  from->release = nullptr;
  return moved;
}

template <typename T>
void release(T& item) {
  if (item.release != nullptr) item.release(&item);
}

template <typename T>
py::capsule to_capsule(T* item, const char* name) {
  return py::capsule(item, name, [](PyObject* capsule) {
    auto* owned = static_cast<T*>(PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule)));
    release(*owned);
    delete owned;
  });
}

std::string python_type_name(py::handle object) {
  return py::str(py::type::of(object).attr("__name__")).cast<std::string>();
}

class ExportedStrings {
 public:
  explicit ExportedStrings(arrow::StringBuilder& builder) { builder.finish(&array_, &schema_); }
  ExportedStrings(ArrowArray& array, ArrowSchema& schema) : array_(take(&array)), schema_(take(&schema)) {}
  ~ExportedStrings() {
    release(array_);
    release(schema_);
  }
  ExportedStrings(const ExportedStrings&) = delete;
  ExportedStrings& operator=(const ExportedStrings&) = delete;

  py::tuple capsules(const py::object& requested_schema) {
    (void)requested_schema;  // The protocol lets a producer return its own type; there is one.
    if (array_.release == nullptr) throw Error("this Arrow array was already taken; call the function again");
    auto schema = std::make_unique<ArrowSchema>(take(&schema_));
    auto array = std::make_unique<ArrowArray>(take(&array_));
    return py::make_tuple(to_capsule(schema.release(), "arrow_schema"), to_capsule(array.release(), "arrow_array"));
  }

 private:
  ArrowArray array_{};
  ArrowSchema schema_{};
};

}  // namespace

ImportedStrings::ImportedStrings(py::handle source, const char* argument) {
  // The constructor may throw after buffers were taken, and then the destructor doesn't run.
  try {
    if (py::hasattr(source, "__arrow_c_stream__")) {
      take_stream(source);
    } else if (py::hasattr(source, "__arrow_c_array__")) {
      take_array(source);
    } else if (PyList_Check(source.ptr()) || PyTuple_Check(source.ptr())) {
      take_sequence(source, argument);
    } else {
      throw Error(std::string(argument) + ": expected an Arrow string column or a list of str, got " +
                  python_type_name(source));
    }
    if (schema_.dictionary != nullptr) decode_dictionaries();
    if (!decoded()) arrow::check_string_schema(schema_);  // there may be no array
    for (const ArrowArray& array : arrays_) chunks_.emplace_back(schema_, array);
  } catch (...) {
    for (ArrowArray& array : arrays_) release(array);
    release(schema_);
    throw;
  }
}

ImportedStrings::~ImportedStrings() {
  for (ArrowArray& array : arrays_) release(array);
  release(schema_);
}

int64_t ImportedStrings::size() const {
  int64_t rows = 0;
  for (const auto& chunk : chunks_) rows += chunk.size();
  return rows;
}

void ImportedStrings::take_stream(py::handle source) {
  const py::object capsule = source.attr("__arrow_c_stream__")();
  ArrowArrayStream stream = take(capsule_pointer<ArrowArrayStream>(capsule, "arrow_array_stream"));
  const std::unique_ptr<ArrowArrayStream, void (*)(ArrowArrayStream*)> guard(
      &stream, [](ArrowArrayStream* self) { release(*self); });
  const auto check = [&](int code) {
    if (code == 0) return;
    const char* why = stream.get_last_error(&stream);
    throw Error("reading the Arrow stream failed: " + std::string(why != nullptr ? why : "no reason given"));
  };
  if (stream.release == nullptr) {
    throw Error("this Arrow stream was already taken; make it again from its column");
  }
  check(stream.get_schema(&stream, &schema_));
  for (;;) {
    ArrowArray array{};
    check(stream.get_next(&stream, &array));
    if (array.release == nullptr) break;
    arrays_.push_back(array);
  }
}

void ImportedStrings::take_array(py::handle source) {
  const py::object pair = source.attr("__arrow_c_array__")();
  if (!PyTuple_Check(pair.ptr()) || PyTuple_GET_SIZE(pair.ptr()) != 2) {
    throw Error("the Arrow column's __arrow_c_array__ gave no two capsules; update the library that made it");
  }
  const py::object schema = pair[py::int_(0)];
  const py::object array = pair[py::int_(1)];
  schema_ = take(capsule_pointer<ArrowSchema>(schema, "arrow_schema"));
  arrays_.push_back(take(capsule_pointer<ArrowArray>(array, "arrow_array")));
}

void ImportedStrings::decode_dictionaries() {
  arrow::check_string_schema(*schema_.dictionary);  // there may be no array
  for (ArrowArray& array : arrays_) {
    ArrowArray decoded{};
    ArrowSchema schema{};
    arrow::decode_dictionary(schema_, array, &decoded, &schema);
    release(schema);
    release(array);
    array = decoded;
  }
  release(schema_);
  arrow::StringBuilder empty;
  ArrowArray none{};
  empty.finish(&none, &schema_);
  release(none);
}

void ImportedStrings::take_sequence(py::handle source, const char* argument) {
  // A tuple of its own, so that nothing can be taken out of the list while the GIL is released.
  keep_alive_ = py::reinterpret_steal<py::object>(PySequence_Tuple(source.ptr()));
  if (!keep_alive_) throw py::error_already_set();
  const Py_ssize_t size = PyTuple_GET_SIZE(keep_alive_.ptr());
  rows_.reserve(static_cast<std::size_t>(size));
  for (Py_ssize_t i = 0; i < size; ++i) {
    PyObject* item = PyTuple_GET_ITEM(keep_alive_.ptr(), i);
    const std::string where = std::string(argument) + "[" + std::to_string(i) + "]";
    if (item == Py_None) {
      rows_.emplace_back();
    } else if (PyUnicode_Check(item)) {
      Py_ssize_t bytes = 0;
      const char* data = PyUnicode_AsUTF8AndSize(item, &bytes);
      if (data == nullptr) {
        PyErr_Clear();
        throw Error(where + " holds a lone surrogate, which has no UTF-8 form; repair it with " +
                    ".encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')");
      }
      rows_.emplace_back(data, static_cast<std::size_t>(bytes));
    } else {
      throw Error(where + " is " + python_type_name(item) + ", expected str or None");
    }
  }
  chunks_.emplace_back(rows_);
}

py::object export_strings(arrow::StringBuilder& builder) {
  return py::cast(std::make_unique<ExportedStrings>(builder));
}

py::object export_strings(ArrowArray& array, ArrowSchema& schema) {
  return py::cast(std::make_unique<ExportedStrings>(array, schema));
}

py::tuple ImportedStrings::hand_on() {
  const char* format = arrow::string_format(schema_);
  py::list chunks;
  for (ArrowArray& array : arrays_) {
    ArrowSchema schema{};
    schema.format = format;
    schema.name = "";
    schema.flags = ARROW_FLAG_NULLABLE;
    schema.release = [](ArrowSchema* self) { self->release = nullptr; };
    chunks.append(export_strings(array, schema));
  }
  chunks_.clear();
  return py::make_tuple(format, chunks);
}

void register_arrow(py::module_& m) {
  py::class_<ExportedStrings>(m, "ArrowStrings", "A string array on its way out; `pyarrow.array(x)` takes it, once.")
      .def("__arrow_c_array__", &ExportedStrings::capsules, py::arg("requested_schema") = py::none());
  m.def(
      "import_strings", [](const py::object& source) { return ImportedStrings(source, "strings").hand_on(); },
      py::arg("strings"));
}

}  // namespace smolfast::bindings
