#include "bindings/layout.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "layout/figures.h"
#include "layout/page.h"
#include "layout/pdfium.h"

namespace smolfast::bindings {
namespace {

namespace py = pybind11;

const char* name_of(layout::Kind kind) {
  switch (kind) {
    case layout::Kind::kTable:
      return "table";
    case layout::Kind::kCaption:
      return "caption";
    case layout::Kind::kFootnote:
      return "footnote";
    case layout::Kind::kFigure:
      return "figure";
    case layout::Kind::kText:
      break;
  }
  return "text";
}

py::list as_list(const std::vector<layout::Block>& blocks) {
  py::list found;
  for (const layout::Block& one : blocks) {
    found.append(py::make_tuple(name_of(one.kind), py::make_tuple(one.box.x0, one.box.y0, one.box.x1, one.box.y1),
                                one.size, one.characters, one.text));
  }
  return found;
}

// An open file. It holds on to the bytes that it reads from.
class Pdf {
 public:
  Pdf(const std::string& library, const py::buffer& data) : info_(data.request()) {
    document_ = std::make_unique<layout::PdfDocument>(library, static_cast<const char*>(info_.ptr),
                                                      static_cast<std::size_t>(info_.size * info_.itemsize));
  }

  const char* failure() const {
    switch (document_->failure()) {
      case layout::Failure::kFormat:
        return "format";
      case layout::Failure::kPassword:
        return "password";
      case layout::Failure::kSecurity:
        return "security";
      case layout::Failure::kNone:
        break;
    }
    return "";
  }

  int pages() const { return document_->pages(); }

  py::object read(int page) const {
    layout::PageCharacters found;
    std::vector<layout::Block> blocks;
    bool good = false;
    {
      const py::gil_scoped_release release;
      good = document_->read(page, found);
      if (good) {
        blocks = layout::arrange_page(found.characters);
        layout::place_figures(blocks, found.parts.pictures, found.width, found.height);
      }
    }
    if (!good) return py::none();
    double area = 0;
    for (const layout::Character& one : found.characters) area += one.box.width() * one.box.height();
    py::list pictures;
    for (const layout::Box& box : found.parts.pictures) pictures.append(py::make_tuple(box.x0, box.y0, box.x1, box.y1));
    const layout::PageParts& parts = found.parts;
    return py::make_tuple(found.width, found.height, as_list(blocks),
                          py::make_tuple(parts.letters, area, parts.unknown, parts.texts, parts.hidden_texts,
                                         parts.shapes, parts.is_cut, pictures));
  }

  std::pair<double, double> size(int page) const {
    std::pair<double, double> found{0, 0};
    document_->size(page, found.first, found.second);
    return found;
  }

  py::object render(int page, double scale, std::size_t most, int channels) const {
    layout::Picture found;
    bool good = false;
    {
      const py::gil_scoped_release release;
      good = document_->render(page, scale, most, channels, found);
    }
    if (!good) return py::none();
    py::array_t<std::uint8_t> pixels({found.height, found.width, found.channels});
    std::copy(found.pixels.begin(), found.pixels.end(), pixels.mutable_data());
    return pixels;
  }

 private:
  py::buffer_info info_;
  std::unique_ptr<layout::PdfDocument> document_;
};

// Characters given as arrays: of each its code, its place [x0, y0, x1, y1, pen x, pen y], size and turn.
py::list arrange(const py::array_t<std::uint32_t, py::array::c_style>& codes,
                 const py::array_t<double, py::array::c_style>& places,
                 const py::array_t<double, py::array::c_style>& sizes,
                 const py::array_t<std::int32_t, py::array::c_style>& turns) {
  const py::ssize_t count = codes.size();
  if (places.size() != 6 * count || sizes.size() != count || turns.size() != count) {
    throw Error("arrange: the arrays' sizes don't fit together; give n codes, [n, 6] places, n sizes and n turns");
  }
  std::vector<layout::Character> characters;
  for (py::ssize_t at = 0; at < count; ++at) {
    const double* place = places.data() + 6 * at;
    characters.push_back({static_cast<char32_t>(codes.data()[at]),
                          {place[0], place[1], place[2], place[3]},
                          place[4],
                          place[5],
                          sizes.data()[at],
                          turns.data()[at]});
  }
  return as_list(layout::arrange_page(characters));
}

}  // namespace

void register_layout(py::module_& m) {
  py::class_<Pdf>(m, "Pdf")
      .def(py::init<const std::string&, const py::buffer&>(), py::arg("library"), py::arg("data"))
      .def_property_readonly("failure", &Pdf::failure)
      .def_property_readonly("pages", &Pdf::pages)
      .def("read", &Pdf::read, py::arg("page"))
      .def("size", &Pdf::size, py::arg("page"))
      .def("render", &Pdf::render, py::arg("page"), py::arg("scale"), py::arg("most"), py::arg("channels"));
  m.def("arrange", &arrange, py::arg("codes"), py::arg("places"), py::arg("sizes"), py::arg("turns"));
}

}  // namespace smolfast::bindings
