#include "layout/pdfium.h"

#ifndef _WIN32
#include <dlfcn.h>
#endif

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <tuple>
#include <type_traits>
#include <utility>

#include "base/error.h"

namespace smolfast::layout {
namespace {

struct FloatBox {
  float left, top, right, bottom;
};

struct Matrix {
  float a, b, c, d, e, f;
};

constexpr unsigned long kErrorPassword = 4;
constexpr unsigned long kErrorSecurity = 5;

}  // namespace

// The few functions of PDFium's public interface that are called, by their types there.
struct PdfDocument::Library {
  void (*init)();
  void* (*load_document)(const void*, std::size_t, const char*);
  void (*close_document)(void*);
  unsigned long (*last_error)();
  int (*page_count)(void*);
  void* (*load_page)(void*, int);
  void (*close_page)(void*);
  float (*page_width)(void*);
  float (*page_height)(void*);
  int (*page_rotation)(void*);
  int (*page_box)(void*, FloatBox*);
  void* (*load_text)(void*);
  void (*close_text)(void*);
  int (*count)(void*);
  unsigned (*code)(void*, int);
  int (*loose_box)(void*, int, FloatBox*);
  int (*origin)(void*, int, double*, double*);
  double (*font_size)(void*, int);
  int (*matrix)(void*, int, Matrix*);
};

const PdfDocument::Library& PdfDocument::load(const std::string& path) {
#ifdef _WIN32
  throw Error("PDF files aren't read on Windows; use Linux or macOS (" + path + ")");
#else
  static const Library library = [&path] {
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) throw Error("can't load PDFium from " + path + "; install pypdfium2 again");
    Library found{};
    const auto look = [&](auto& function, const char* name) {
      void* symbol = dlsym(handle, name);
      if (symbol == nullptr) throw Error("PDFium in " + path + " has no " + name + "; install pypdfium2 5 or later");
      function = reinterpret_cast<std::remove_reference_t<decltype(function)> >(symbol);
    };
    look(found.init, "FPDF_InitLibrary");
    look(found.load_document, "FPDF_LoadMemDocument64");
    look(found.close_document, "FPDF_CloseDocument");
    look(found.last_error, "FPDF_GetLastError");
    look(found.page_count, "FPDF_GetPageCount");
    look(found.load_page, "FPDF_LoadPage");
    look(found.close_page, "FPDF_ClosePage");
    look(found.page_width, "FPDF_GetPageWidthF");
    look(found.page_height, "FPDF_GetPageHeightF");
    look(found.page_rotation, "FPDFPage_GetRotation");
    look(found.page_box, "FPDF_GetPageBoundingBox");
    look(found.load_text, "FPDFText_LoadPage");
    look(found.close_text, "FPDFText_ClosePage");
    look(found.count, "FPDFText_CountChars");
    look(found.code, "FPDFText_GetUnicode");
    look(found.loose_box, "FPDFText_GetLooseCharBox");
    look(found.origin, "FPDFText_GetCharOrigin");
    look(found.font_size, "FPDFText_GetFontSize");
    look(found.matrix, "FPDFText_GetMatrix");
    found.init();
    return found;
  }();
  return library;
#endif
}

PdfDocument::PdfDocument(const std::string& library, const char* data, std::size_t size) : library_(load(library)) {
  document_ = library_.load_document(data, size, nullptr);
  if (document_ == nullptr) {
    const unsigned long error = library_.last_error();
    failure_ = error == kErrorPassword   ? Failure::kPassword
               : error == kErrorSecurity ? Failure::kSecurity
                                         : Failure::kFormat;
    return;
  }
  pages_ = library_.page_count(document_);
}

PdfDocument::~PdfDocument() {
  if (document_ != nullptr) library_.close_document(document_);
}

bool PdfDocument::read(int number, PageCharacters& to) const {
  if (document_ == nullptr || number < 0 || number >= pages_) return false;
  const std::unique_ptr<void, void (*)(void*)> page(library_.load_page(document_, number), library_.close_page);
  if (!page) return false;
  to.width = library_.page_width(page.get());
  to.height = library_.page_height(page.get());
  const std::unique_ptr<void, void (*)(void*)> text(library_.load_text(page.get()), library_.close_text);
  if (!text) return false;
  const int rotation = library_.page_rotation(page.get()) & 3;  // quarter turns to the right
  FloatBox sheet{0, static_cast<float>(to.height), static_cast<float>(to.width), 0};
  library_.page_box(page.get(), &sheet);
  const auto seen = [&](double x, double y) -> std::pair<double, double> {
    switch (rotation) {
      case 1:
        return {y - sheet.bottom, x - sheet.left};
      case 2:
        return {sheet.right - x, y - sheet.bottom};
      case 3:
        return {sheet.top - y, sheet.right - x};
      default:
        return {x - sheet.left, sheet.top - y};
    }
  };
  const int count = std::max(0, library_.count(text.get()));
  to.characters.reserve(static_cast<std::size_t>(count));
  for (int at = 0; at < count; ++at) {
    Character one;
    one.code = library_.code(text.get(), at);
    if (one.code <= U' ' && one.code != kHyphen) {  // only a mark between words: where it stands doesn't matter
      if (!to.characters.empty() && to.characters.back().code != U' ')
        to.characters.push_back({U' ', {}, 0, 0, 0, to.characters.back().turn});
      continue;
    }
    FloatBox box{};
    double x = 0, y = 0;
    Matrix matrix{1, 0, 0, 1, 0, 0};
    if (!library_.loose_box(text.get(), at, &box) || !library_.origin(text.get(), at, &x, &y)) continue;
    library_.matrix(text.get(), at, &matrix);
    const auto [x0, y0] = seen(box.left, box.top);
    const auto [x1, y1] = seen(box.right, box.bottom);
    one.box = {std::min(x0, x1), std::min(y0, y1), std::max(x0, x1), std::max(y0, y1)};
    std::tie(one.pen_x, one.pen_y) = seen(x, y);
    const double scale = std::hypot(static_cast<double>(matrix.c), static_cast<double>(matrix.d));
    one.size = std::abs(library_.font_size(text.get(), at)) * (scale > 0 ? scale : 1);
    const double angle = std::atan2(static_cast<double>(matrix.b), static_cast<double>(matrix.a));
    one.turn = (static_cast<int>(std::lround(angle / (std::numbers::pi / 2))) - rotation) & 3;
    const bool is_finite = std::isfinite(one.box.x0 + one.box.y0 + one.box.x1 + one.box.y1 + one.pen_x + one.pen_y);
    if (!is_finite || !std::isfinite(one.size) || one.size <= 0) continue;
    to.characters.push_back(one);
  }
  return true;
}

}  // namespace smolfast::layout
