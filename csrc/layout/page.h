// What a page is made of: characters where they stand, and the blocks of text that they form.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace smolfast::layout {

// In points; y grows downwards, as the page is seen.
struct Box {
  double x0 = 0, y0 = 0, x1 = 0, y1 = 0;

  double width() const { return x1 - x0; }
  double height() const { return y1 - y0; }
};

struct Character {
  char32_t code = 0;
  Box box;           // From the pen's place to its next, from the font's descent to its ascent.
  double pen_x = 0;  // Where the pen stands: on the baseline.
  double pen_y = 0;
  double size = 0;  // Of the font, as it is seen.
  int turn = 0;     // Quarter turns to the left of the direction of writing; 0 is from left to right.
};

enum class Kind { kText, kTable, kCaption, kFootnote, kFigure };

struct Block {
  Kind kind = Kind::kText;
  Box box;
  double size = 0;
  std::size_t characters = 0;
  std::string text;  // UTF-8. Lines end with \n, \v where the next word had room, or kHyphen where a word may go on.
};

// Stands for the hyphen at the end of a line and its break.
constexpr char32_t kHyphen = 2;

// The blocks in reading order. The characters come in the order in which the file draws them.
std::vector<Block> arrange_page(const std::vector<Character>& characters);

}  // namespace smolfast::layout
