#include "layout/pdfium.h"

#ifndef _WIN32
#include <dlfcn.h>
#endif
#ifdef __GLIBC__
#include <malloc.h>
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

// Of FPDFPageObj_GetType, FPDFTextObj_GetTextRenderMode and FPDFBitmap_CreateEx.
constexpr int kTextObject = 1, kPathObject = 2, kImageObject = 3, kFormObject = 5;
constexpr int kInvisible = 3;
constexpr int kGrey = 1, kColours = 2;
constexpr int kDrawGrey = 8, kDrawNotes = 1;

constexpr int kMostParts = 20000;                        // Of a page: some draw a million lines.
constexpr int kDeepest = 4;                              // Forms in forms.
constexpr double kLeastShape = 1.5, kLargestShape = 60;  // Of letters drawn as outlines, in points.
constexpr int kRectangle = 6, kLetter = 20;              // Lines and curves of an outline.
constexpr int kLargestPicture = 16384;                   // Pixels a side.
constexpr char32_t kUnknown = 0xFFFD;
constexpr int kKeep = 64 << 20;    // Bytes that are free at the end of the heap, and stay with the process.
constexpr int kOwnMap = 32 << 20;  // A larger piece goes back to the system when it is freed.

// A page takes some hundred kilobytes and frees them, and so does the next. That the system takes them back between
// pages, and gives them again with zeros, costs a seventh of the time. glibc comes to the same limits by itself where
// one piece of 32 MiB has been freed.
void keep_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, kOwnMap);
  mallopt(M_TRIM_THRESHOLD, kKeep);
#endif
}

// What says that a letter isn't known, and what a font alone gives a meaning: for private use.
bool is_no_letter(char32_t code) {
  return code == kUnknown || (code >= 0xE000 && code <= 0xF8FF) || code >= 0xF0000;
}

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
  int (*is_unknown)(void*, int);
  int (*count_objects)(void*);
  void* (*object)(void*, int);
  int (*object_type)(void*);
  int (*object_bounds)(void*, float*, float*, float*, float*);
  int (*object_matrix)(void*, Matrix*);
  int (*text_mode)(void*);
  int (*draw_mode)(void*, int*, int*);
  int (*count_segments)(void*);
  int (*count_in_form)(void*);
  void* (*object_in_form)(void*, unsigned long);
  void* (*make_bitmap)(int, int, int, void*, int);
  void (*draw)(void*, void*, int, int, int, int, int, int);
  void (*end_bitmap)(void*);
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
    look(found.is_unknown, "FPDFText_HasUnicodeMapError");
    look(found.count_objects, "FPDFPage_CountObjects");
    look(found.object, "FPDFPage_GetObject");
    look(found.object_type, "FPDFPageObj_GetType");
    look(found.object_bounds, "FPDFPageObj_GetBounds");
    look(found.object_matrix, "FPDFPageObj_GetMatrix");
    look(found.text_mode, "FPDFTextObj_GetTextRenderMode");
    look(found.draw_mode, "FPDFPath_GetDrawMode");
    look(found.count_segments, "FPDFPath_CountSegments");
    look(found.count_in_form, "FPDFFormObj_CountObjects");
    look(found.object_in_form, "FPDFFormObj_GetObject");
    look(found.make_bitmap, "FPDFBitmap_CreateEx");
    look(found.draw, "FPDF_RenderPageBitmap");
    look(found.end_bitmap, "FPDFBitmap_Destroy");
    keep_memory();
    found.init();
    return found;
  }();
  return library;
#endif
}

// From a page's own coordinates to those in which it is seen.
class PdfDocument::Seen {
 public:
  Seen(const Library& library, void* page, double width, double height)
      : rotation_(library.page_rotation(page) & 3),  // quarter turns to the right
        sheet_{0, static_cast<float>(height), static_cast<float>(width), 0} {
    library.page_box(page, &sheet_);
  }

  int rotation() const { return rotation_; }

  std::pair<double, double> operator()(double x, double y) const {
    switch (rotation_) {
      case 1:
        return {y - sheet_.bottom, x - sheet_.left};
      case 2:
        return {sheet_.right - x, y - sheet_.bottom};
      case 3:
        return {sheet_.top - y, sheet_.right - x};
      default:
        return {x - sheet_.left, sheet_.top - y};
    }
  }

  Box box(double left, double top, double right, double bottom) const {
    const auto [x0, y0] = (*this)(left, top);
    const auto [x1, y1] = (*this)(right, bottom);
    return {std::min(x0, x1), std::min(y0, y1), std::max(x0, x1), std::max(y0, y1)};
  }

 private:
  int rotation_;
  FloatBox sheet_;
};

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
  const Seen seen(library_, page.get(), to.width, to.height);
  look_at(page.get(), seen, to.parts);
  const int count = std::max(0, library_.count(text.get()));
  to.characters.reserve(static_cast<std::size_t>(count));
  Matrix last{1, 0, 0, 1, 0, 0};
  double scale = 1;
  int turn = -seen.rotation() & 3;
  for (int at = 0; at < count; ++at) {
    Character one;
    one.code = library_.code(text.get(), at);
    const bool is_guessed = library_.is_unknown(text.get(), at) > 0;
    if (is_guessed && one.code <= U' ') one.code = kUnknown;
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
    one.box = seen.box(box.left, box.top, box.right, box.bottom);
    std::tie(one.pen_x, one.pen_y) = seen(x, y);
    if (matrix.a != last.a || matrix.b != last.b || matrix.c != last.c || matrix.d != last.d) {
      last = matrix;  // Most letters are set as the one before.
      scale = std::hypot(static_cast<double>(matrix.c), static_cast<double>(matrix.d));
      if (!(scale > 0)) scale = 1;
      const double angle = std::atan2(static_cast<double>(matrix.b), static_cast<double>(matrix.a));
      turn = (static_cast<int>(std::lround(angle / (std::numbers::pi / 2))) - seen.rotation()) & 3;
    }
    one.size = std::abs(library_.font_size(text.get(), at)) * scale;
    one.turn = turn;
    const bool is_finite = std::isfinite(one.box.x0 + one.box.y0 + one.box.x1 + one.box.y1 + one.pen_x + one.pen_y);
    if (!is_finite || !std::isfinite(one.size) || one.size <= 0) continue;
    ++to.parts.letters;
    to.parts.unknown += is_guessed || is_no_letter(one.code);
    to.characters.push_back(one);
  }
  return true;
}

void PdfDocument::look_at(void* page, const Seen& seen, PageParts& to) const {
  int left = kMostParts;
  const auto look = [&](auto&& again, void* object, const Matrix& place, int depth) -> void {
    if (object == nullptr) return;
    if (left-- <= 0) {
      to.is_cut = true;
      return;
    }
    const int type = library_.object_type(object);
    if (type == kTextObject) {
      ++to.texts;
      to.hidden_texts += library_.text_mode(object) == kInvisible;
    } else if (type == kFormObject && depth < kDeepest) {
      Matrix own{1, 0, 0, 1, 0, 0};
      library_.object_matrix(object, &own);
      const Matrix whole{own.a * place.a + own.b * place.c,           own.a * place.b + own.b * place.d,
                         own.c * place.a + own.d * place.c,           own.c * place.b + own.d * place.d,
                         own.e * place.a + own.f * place.c + place.e, own.e * place.b + own.f * place.d + place.f};
      const int count = library_.count_in_form(object);
      for (int at = 0; at < count && left > 0; ++at) {
        again(again, library_.object_in_form(object, static_cast<unsigned long>(at)), whole, depth + 1);
      }
    } else if (type == kImageObject || type == kPathObject) {
      float x0 = 0, y0 = 0, x1 = 0, y1 = 0;
      if (!library_.object_bounds(object, &x0, &y0, &x1, &y1)) return;
      const auto at = [&](float x, float y) -> std::pair<double, double> {
        return {x * place.a + y * place.c + place.e, x * place.b + y * place.d + place.f};
      };
      const auto [ax, ay] = at(x0, y0);
      const auto [bx, by] = at(x1, y1);
      const Box box = seen.box(ax, ay, bx, by);
      if (!std::isfinite(box.x0 + box.y0 + box.x1 + box.y1)) return;
      if (type == kImageObject) {
        to.pictures.push_back(box);
        return;
      }
      int filled = 0, stroked = 0;
      if (!library_.draw_mode(object, &filled, &stroked) || filled == 0) return;
      const int lines = library_.count_segments(object);
      if (lines <= kRectangle || std::max(box.width(), box.height()) < kLeastShape) return;
      // One letter, or many in one go.
      to.shapes += std::max(box.width(), box.height()) < kLargestShape ? 1 : static_cast<std::size_t>(lines / kLetter);
    }
  };
  const int count = library_.count_objects(page);
  for (int at = 0; at < count && left > 0; ++at) look(look, library_.object(page, at), {1, 0, 0, 1, 0, 0}, 0);
}

void PdfDocument::size(int number, double& width, double& height) const {
  const std::unique_ptr<void, void (*)(void*)> page(library_.load_page(document_, number), library_.close_page);
  if (!page) return;
  width = library_.page_width(page.get());
  height = library_.page_height(page.get());
}

bool PdfDocument::render(int number, double scale, std::size_t most, int channels, Picture& to) const {
  const std::unique_ptr<void, void (*)(void*)> page(library_.load_page(document_, number), library_.close_page);
  if (!page) return false;
  const double width = library_.page_width(page.get()), height = library_.page_height(page.get());
  if (!(width > 0 && height > 0) || !(scale > 0)) return false;
  scale = std::min({scale, std::sqrt(static_cast<double>(most) / (width * height)), kLargestPicture / width,
                    kLargestPicture / height});
  to.width = std::max(1, static_cast<int>(width * scale));
  to.height = std::max(1, static_cast<int>(height * scale));
  to.channels = channels == 1 ? 1 : 3;
  to.pixels.assign(static_cast<std::size_t>(to.width) * static_cast<std::size_t>(to.height * to.channels), 255);
  const std::unique_ptr<void, void (*)(void*)> bitmap(
      library_.make_bitmap(to.width, to.height, to.channels == 1 ? kGrey : kColours, to.pixels.data(),
                           to.width * to.channels),
      library_.end_bitmap);
  if (!bitmap) return false;
  library_.draw(bitmap.get(), page.get(), 0, 0, to.width, to.height, 0,
                kDrawNotes | (to.channels == 1 ? kDrawGrey : 0));
  return true;
}

}  // namespace smolfast::layout
