// White space that runs down a page: between columns of text, and between those of a table.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "layout/words.h"

namespace smolfast::layout {

// Rows [first, end) with white space at the same place.
struct Gutter {
  std::size_t first = 0, end = 0;
  double left = 0, right = 0;
  std::size_t both = 0;  // Rows with words on both sides.
};

// The gutter between columns of text that most rows have, if there is one.
std::optional<Gutter> find_columns(const std::vector<Row>& rows);

// The rows of a table, and the white space between its columns.
struct Table {
  std::size_t first = 0, end = 0;
  std::vector<std::pair<double, double>> gutters;
};

std::optional<Table> find_table(const std::vector<Row>& rows);

}  // namespace smolfast::layout
