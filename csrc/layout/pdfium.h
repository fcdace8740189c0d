// PDF files through the PDFium library of another package, loaded when it is needed.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "layout/page.h"

namespace smolfast::layout {

// Why a file can't be opened.
enum class Failure { kNone, kFormat, kPassword, kSecurity };

// What a page is made of, beside its text.
struct PageParts {
  std::vector<Box> pictures;
  std::size_t letters = 0;  // Characters other than spaces,
  std::size_t unknown = 0;  // and those of them that are garbled, or guessed since their font says nothing.
  std::size_t texts = 0;    // Pieces of text, and those of them that are not drawn.
  std::size_t hidden_texts = 0;
  std::size_t shapes = 0;  // Filled outlines of a letter's size.
  bool is_cut = false;     // There are more parts than were looked at.
};

struct PageCharacters {
  std::vector<Character> characters;
  double width = 0, height = 0;  // In points, as the page is seen.
  PageParts parts;
};

// Rows of pixels without padding, each of `channels` bytes: grey, or blue, green and red.
struct Picture {
  int width = 0, height = 0, channels = 1;
  std::vector<unsigned char> pixels;
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

  // In points, as the page is seen; left as they are where it can't be loaded.
  void size(int page, double& width, double& height) const;

  // The page as a picture of `scale` pixels a point, less where it would have more than `most` pixels.
  bool render(int page, double scale, std::size_t most, int channels, Picture& to) const;

 private:
  class Seen;
  void look_at(void* page, const Seen& seen, PageParts& to) const;

  struct Library;
  static const Library& load(const std::string& path);

  const Library& library_;
  void* document_ = nullptr;
  Failure failure_ = Failure::kNone;
  int pages_ = 0;
};

}  // namespace smolfast::layout
