// PDF files through the PDFium library of another package, loaded when it is needed.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "layout/page.h"

namespace smolfast::layout {

// Why a file can't be opened.
enum class Failure { kNone, kFormat, kPassword, kSecurity };

struct PageCharacters {
  std::vector<Character> characters;
  double width = 0, height = 0;  // In points, as the page is seen.
};

// PDFium isn't thread-safe: one document at a time in a process.
class PdfDocument {
 public:
  // `data` must outlive this. Throws Error if the library can't be loaded.
  PdfDocument(const std::string& library, const char* data, std::size_t size);
  ~PdfDocument();
  PdfDocument(const PdfDocument&) = delete;
  PdfDocument& operator=(const PdfDocument&) = delete;

  Failure failure() const { return failure_; }
  int pages() const { return pages_; }

  // False where the page can't be loaded.
  bool read(int page, PageCharacters& to) const;

 private:
  struct Library;
  static const Library& load(const std::string& path);

  const Library& library_;
  void* document_ = nullptr;
  Failure failure_ = Failure::kNone;
  int pages_ = 0;
};

}  // namespace smolfast::layout
