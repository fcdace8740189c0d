// Pictures among the blocks of a page.
#pragma once

#include <vector>

#include "layout/page.h"

namespace smolfast::layout {

// Puts a block of kind figure where each picture stands: before its caption, else behind what is read above it. Parts
// of one picture count as one. Signs, and what lies under a page's text, don't count.
void place_figures(std::vector<Block>& blocks, std::vector<Box> pictures, double width, double height);

}  // namespace smolfast::layout
