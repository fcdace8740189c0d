// Text that is set from top to bottom in columns, the right one first: Japanese, Chinese, and old Korean.
#pragma once

#include <vector>

#include "layout/page.h"

namespace smolfast::layout {

// Whether letters of this script stand upright in a column: ideographs, kana, Hangul and their punctuation.
bool is_upright(char32_t code);

// Gives upright letters that follow each other downwards, and the numbers between them, the turn and the places that
// letters turned to the right would have. Then such a column is a line like any other.
void turn_vertical(std::vector<Character>& characters);

}  // namespace smolfast::layout
