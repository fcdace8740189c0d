// Characters to words, and words to rows.
#pragma once

#include <string>
#include <vector>

#include "layout/page.h"

namespace smolfast::layout {

struct Word {
  std::u32string text;
  Box box;
  double baseline = 0;
  double size = 0;
  bool right_to_left = false;
};

using Words = std::vector<const Word*>;

// Words that stand on one baseline, from left to right.
struct Row {
  Words words;
  double baseline = 0;
  double size = 0;
  double top = 0, bottom = 0;

  double left() const { return words.front()->box.x0; }
  double right() const { return words.back()->box.x1; }
};

bool is_right_to_left(char32_t code);

// All characters must be written from left to right, or from right to left: `turn` isn't looked at.
std::vector<Word> make_words(const std::vector<Character>& characters);

std::vector<Row> make_rows(Words words);

// The text of a row's words (part of them) in the order in which they are read.
std::u32string read_words(const Words& words);

double median_size(const Words& words);

}  // namespace smolfast::layout
