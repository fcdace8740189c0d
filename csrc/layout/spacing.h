// Spaces that aren't there: PDFium takes a wide gap for one, and in spaced letters all gaps are wide.
#pragma once

#include <vector>

#include "layout/page.h"

namespace smolfast::layout {

// Removes spaces inside words whose letters are spaced: programs that LaTeX's listings set on a grid, and titles.
// The characters must be written from left to right.
void drop_false_spaces(std::vector<Character>& characters);

}  // namespace smolfast::layout
