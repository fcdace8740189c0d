// Word segmentation: Unicode word boundaries (UAX #29), of which only the words are kept, with Han, kana, Thai, Lao,
// Khmer and other scripts that write no spaces split per character (a character keeps its marks).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/word.h"

namespace smolfast::text {

// Finds the words of one text in batches, so that a caller can hash them while they're in cache:
//
//   WordScanner scanner(text);
//   Word words[256];
//   while (const std::size_t n = scanner.next(words, 256)) use(words, n);
//
// The text must be valid UTF-8 of less than 4 GiB and outlive the scanner. A segment is a word if it holds a letter, a
// number or an alphabetic character; punctuation, spaces, symbols and lone underscores are not. Every implementation
// (base/cpu.h) gives the same words.
class WordScanner {
 public:
  explicit WordScanner(std::string_view text);
  // Writes up to `capacity` (at least 64) words in order and says how many; 0 at the end of the text.
  std::size_t next(Word* words, std::size_t capacity);

 private:
  using Scan = std::size_t (*)(std::string_view text, std::size_t& at, Word* words, std::size_t capacity);

  std::string_view text_;
  std::size_t at_ = 0;
  Scan scan_;
};

}  // namespace smolfast::text
