// White space that runs down a page: between columns of text, and between those of a table.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "layout/words.h"

namespace smolfast::layout {

// Two columns, each of which may hold further ones, and what stands above and below both.
struct Columns {
  Words above, left, right, below;
};

// The sides of the gutter between lines of text that most lines have, if there is one.
std::optional<Columns> find_columns(const Words& words);

// The rows of a table, and the white space between its columns.
struct Table {
  std::size_t first = 0, end = 0;
  std::vector<std::pair<double, double>> gutters;
  std::vector<bool> starts;  // Of each line, whether it begins a row.
};

// The cell, from the left, in which a word stands.
std::size_t cell_of(const Table& table, const Word& word);

std::optional<Table> find_table(const std::vector<Row>& rows);

}  // namespace smolfast::layout
