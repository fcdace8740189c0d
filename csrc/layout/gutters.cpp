#include "layout/gutters.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "layout/vertical.h"

namespace smolfast::layout {
namespace {

constexpr double kNarrowest = 0.9;        // A gutter, in sizes of the font.
constexpr double kApart = 3.0;            // Rows further apart don't belong together.
constexpr double kPicture = 30.0;         // Height of a picture between lines of a column.
constexpr std::size_t kMostRows = 600;    // Of a page. Time grows with the square.
constexpr std::size_t kFewestRows = 4;    // Of columns.
constexpr double kFull = 0.6;             // A line that fills so much of its column is one of text.
constexpr std::size_t kUprightLine = 12;  // Letters of a line in a script without spaces: labels have fewer.
constexpr std::size_t kFewestOfTable = 3;
constexpr double kSamePitch = 1.1;   // Lines of one cell; rows have more between them.
constexpr double kPitch = 1.15;      // Of lines at least, in sizes of the font.
constexpr double kLinePitch = 1.35;  // Lines further apart, in sizes of the font, are no lines of one cell.
constexpr double kSameScan = 0.1;    // Baselines nearer than this are one, in sizes of the font.
constexpr double kMiddle = 0.25;     // Of small letters above their baseline.
constexpr double kAbove = 0.9;       // So far above and below its baseline a line of text reaches.
constexpr double kBelow = 0.3;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Gap = std::pair<double, double>;

// Rows [first, end) with white space at the same place.
struct Gutter {
  std::size_t first = 0, end = 0;
  double left = 0, right = 0;
  std::size_t both = 0;  // Rows with words on both sides.
};

std::vector<Gap> gaps_of(const Row& row, double narrowest) {
  std::vector<Gap> gaps{{-kInfinity, row.left()}};
  double right = row.words.front()->box.x1;
  for (const Word* word : row.words) {
    if (word->box.x0 - right >= narrowest) gaps.emplace_back(right, word->box.x0);
    right = std::max(right, word->box.x1);
  }
  gaps.emplace_back(right, kInfinity);
  return gaps;
}

class Search {
 public:
  explicit Search(const std::vector<Row>& rows) : rows_(rows) {
    Words all;
    for (const Row& row : rows) all.insert(all.end(), row.words.begin(), row.words.end());
    size_ = median_size(all);
    for (const Row& row : rows) gaps_.push_back(gaps_of(row, kNarrowest * size_));
  }

  // Every run of rows around a gap inside a row.
  template <typename Visit>
  void visit(Visit&& visit) const {
    std::vector<Gutter> seen;
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      for (std::size_t gap = 1; gap + 1 < gaps_[row].size(); ++gap) {
        const auto [left, right] = gaps_[row][gap];
        const bool known = std::any_of(seen.begin(), seen.end(), [&](const Gutter& one) {
          return row >= one.first && row < one.end && one.left < right && one.right > left &&
                 std::min(one.right, right) - std::max(one.left, left) >= kNarrowest * size_;
        });
        if (known) continue;
        Gutter found{row, row + 1, left, right, 1};
        while (found.end < rows_.size() && extend(found, found.end, found.end - 1)) ++found.end;
        give_back(found);
        while (found.first > 0 && extend(found, found.first - 1, found.first)) --found.first;
        seen.push_back(found);
        visit(found);
      }
    }
  }

  const std::vector<Row>& rows() const { return rows_; }
  double size() const { return size_; }
  const std::vector<Gap>& gaps(std::size_t row) const { return gaps_[row]; }

 private:
  bool extend(Gutter& gutter, std::size_t row, std::size_t from) const {
    const double apart = row > from ? rows_[row].top - rows_[from].bottom : rows_[from].top - rows_[row].bottom;
    Gap best{0, 0};
    bool inside = false;
    for (std::size_t at = 0; at < gaps_[row].size(); ++at) {
      const Gap cut{std::max(gutter.left, gaps_[row][at].first), std::min(gutter.right, gaps_[row][at].second)};
      if (cut.second - cut.first > best.second - best.first) {
        best = cut;
        inside = at > 0 && at + 1 < gaps_[row].size();
      }
    }
    // Below a gutter a column may have room for a picture; above it that would be a title.
    const double most = inside ? 2 * kApart : row > from ? kPicture : kApart / 2;
    if (best.second - best.first < kNarrowest * size_ || apart > most * size_) return false;
    const bool narrows = best.first > gutter.left || best.second < gutter.right;
    if (narrows && !inside && apart > kApart / 2 * size_) return false;  // A page number, most often.
    gutter.left = best.first;
    gutter.right = best.second;
    gutter.both += inside;
    return true;
  }

  // Without what stands on one side at the end, behind a space, and nearer to what comes below than to what is above.
  void give_back(Gutter& gutter) const {
    for (std::size_t row = gutter.end; row-- > gutter.first + 1;) {
      if (rows_[row].left() < gutter.left && rows_[row].right() > gutter.right) return;
      const double above = rows_[row].top - rows_[row - 1].bottom;
      if (above <= kApart / 2 * size_) continue;
      if (gutter.end < rows_.size() && rows_[gutter.end].top - rows_[gutter.end - 1].bottom < above) gutter.end = row;
      return;
    }
  }

  const std::vector<Row>& rows_;
  std::vector<std::vector<Gap>> gaps_;
  double size_ = 0;
};

// A row for each baseline, with all words that a line through its small letters meets. So each row sees the words of
// every column, though the columns' baselines differ.
std::vector<Row> make_scans(const Words& sorted) {
  std::vector<Row> scans;
  double largest = 0;
  for (const Word* word : sorted) {
    largest = std::max(largest, word->size);
    if (!scans.empty() && word->baseline - scans.back().baseline < kSameScan * word->size) {
      scans.back().top = std::min(scans.back().top, word->box.y0);
      scans.back().bottom = std::max(scans.back().bottom, word->box.y1);
      continue;
    }
    scans.push_back({{}, word->baseline, word->size, word->box.y0, word->box.y1});
  }
  std::size_t from = 0;
  for (Row& scan : scans) {
    const double y = scan.baseline - kMiddle * scan.size;
    while (from < sorted.size() && sorted[from]->baseline < y - largest) ++from;
    for (std::size_t at = from; at < sorted.size() && sorted[at]->baseline < scan.baseline + largest; ++at) {
      const Word& word = *sorted[at];
      const bool is_own = std::abs(word.baseline - scan.baseline) < kSameScan * word.size;
      if (is_own || (y > word.baseline - kAbove * word.size && y < word.baseline + kBelow * word.size))
        scan.words.push_back(&word);
    }
    std::stable_sort(scan.words.begin(), scan.words.end(),
                     [](const Word* a, const Word* b) { return a->box.x0 < b->box.x0; });
  }
  return scans;
}

// Whether along the shorter column a quarter of the lines have one of the other at their side. There may be pictures,
// and wide spaces between lines.
bool are_side_by_side(const Columns& columns, const std::vector<Row>& scans, std::size_t both) {
  double top = -kInfinity, bottom = kInfinity;
  for (const Words* column : {&columns.left, &columns.right}) {
    if (column->empty()) return false;
    top = std::max(top, column->front()->baseline);
    bottom = std::min(bottom, column->back()->baseline);
  }
  const auto lines = std::count_if(scans.begin(), scans.end(),
                                   [&](const Row& scan) { return scan.baseline >= top && scan.baseline <= bottom; });
  return 4 * both >= static_cast<std::size_t>(lines);
}

// Scripts without spaces: four letters count as a word, where there are as many as in a line of text.
std::size_t words_in(const Word& word) {
  const auto upright = static_cast<std::size_t>(std::count_if(word.text.begin(), word.text.end(), is_upright));
  return upright < kUprightLine ? 1 : upright / 4;
}

// Whether lines of text fill a column, and not words of a table or of a list.
bool holds_text(const Words& column, double narrowest) {
  std::vector<double> widths;
  std::size_t words = 0;
  for (const Row& row : make_rows(column)) {
    double begin = row.left(), end = row.left(), longest = 0;
    std::size_t count = 0, most = 0;
    for (const Word* word : row.words) {
      if (word->box.x0 - end >= narrowest) {
        begin = word->box.x0;
        count = 0;
      }
      end = std::max(end, word->box.x1);
      longest = std::max(longest, end - begin);
      count += words_in(*word);
      most = std::max(most, count);
    }
    widths.push_back(longest);
    words += most;
  }
  if (widths.size() < kFewestRows || words < 3 * widths.size()) return false;
  // Against a long line and not the whole side, which may hold further columns.
  std::vector<double> sorted = widths;
  std::sort(sorted.begin(), sorted.end());
  const double usual = sorted[sorted.size() * 3 / 4];
  const auto full = std::count_if(widths.begin(), widths.end(), [&](double width) { return width >= kFull * usual; });
  return 2 * static_cast<std::size_t>(full) >= widths.size();
}

// White space that all of the rows have.
std::vector<Gap> common_gaps(const Search& search, std::size_t first, std::size_t end) {
  std::vector<Gap> common{{-kInfinity, kInfinity}};
  for (std::size_t row = first; row < end; ++row) {
    std::vector<Gap> next;
    for (const Gap& a : common) {
      for (const Gap& b : search.gaps(row)) {
        const Gap cut{std::max(a.first, b.first), std::min(a.second, b.second)};
        if (cut.second - cut.first >= kNarrowest * search.size()) next.push_back(cut);
      }
    }
    common = std::move(next);
  }
  std::erase_if(common, [](const Gap& gap) { return gap.first == -kInfinity || gap.second == kInfinity; });
  return common;
}

// Signs and numbers before the lines of a list stand like a table's first column.
bool is_list(const std::vector<Row>& rows, const Table& table) {
  return std::all_of(rows.begin() + static_cast<std::ptrdiff_t>(table.first),
                     rows.begin() + static_cast<std::ptrdiff_t>(table.end), [&](const Row& row) {
                       const Word& word = *row.words.front();
                       return word.box.x0 > table.gutters.front().first || word.text.size() <= 3 ||
                              word.text.back() == U'.' || word.text.back() == U')';
                     });
}

// The smallest distance between lines.
double least_pitch(const std::vector<Row>& rows, std::size_t first, std::size_t end) {
  double least = kInfinity;
  for (std::size_t row = first + 1; row < end; ++row)
    least = std::min(least, rows[row].baseline - rows[row - 1].baseline);
  return least;
}

double usual_pitch(const std::vector<Row>& rows, std::size_t first, std::size_t end) {
  std::vector<double> all;
  for (std::size_t row = first + 1; row < end; ++row) all.push_back(rows[row].baseline - rows[row - 1].baseline);
  if (all.empty()) return 0;
  const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
  std::nth_element(all.begin(), middle, all.end());
  return *middle;
}

// Which lines begin a row of a table. Others stand close below the line before and have at least one cell empty: their
// words go on in cells of that row. Where all lines stand alike each is a row.
std::vector<bool> starts_of(const std::vector<Row>& rows, const Table& table) {
  std::vector<bool> starts(table.end - table.first, true);
  const double pitch = least_pitch(rows, table.first, table.end);
  const double size = rows[table.first].size;
  std::size_t close = 0;
  for (std::size_t row = table.first + 1; row < table.end; ++row) {
    close += rows[row].baseline - rows[row - 1].baseline < kSamePitch * pitch;
  }
  if (close + 1 == starts.size() && pitch > kLinePitch * size) return starts;
  std::vector<bool> is_close(starts.size()), has_gap(starts.size());
  std::size_t gaps = 0;
  for (std::size_t row = table.first + 1; row < table.end; ++row) {
    std::vector<bool> full(table.gutters.size() + 1);
    for (const Word* word : rows[row].words) full[cell_of(table, *word)] = true;
    const std::size_t line = row - table.first;
    is_close[line] = rows[row].baseline - rows[row - 1].baseline < kSamePitch * pitch;
    // Without space between rows only the first cell tells.
    has_gap[line] = close + 1 < starts.size() ? std::find(full.begin(), full.end(), false) != full.end() : !full[0];
    gaps += is_close[line] && has_gap[line];
  }
  // Where most of such lines have an empty cell, the others go on in every cell.
  const bool all = close + 1 < starts.size() && 2 * gaps >= close;
  for (std::size_t line = 1; line < starts.size(); ++line) starts[line] = !(is_close[line] && (all || has_gap[line]));
  return starts;
}

}  // namespace

std::size_t cell_of(const Table& table, const Word& word) {
  std::size_t cell = 0;
  while (cell < table.gutters.size() && word.box.x0 >= table.gutters[cell].second - 1e-6) ++cell;
  return cell;
}

std::optional<Columns> find_columns(const Words& words) {
  Words sorted = words;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Word* a, const Word* b) { return a->baseline < b->baseline; });
  const std::vector<Row> scans = make_scans(sorted);
  if (scans.size() < kFewestRows || scans.size() > kMostRows) return std::nullopt;
  std::optional<Columns> best;
  std::size_t most = 0;
  const Search search(scans);
  search.visit([&](const Gutter& found) {
    if (found.both < kFewestRows || found.both <= most) return;
    Columns columns;
    const double top = scans[found.first].baseline;
    for (const Word* word : sorted) {
      const bool is_above = word->baseline < top;
      const bool is_below = found.end < scans.size() && word->baseline >= scans[found.end].baseline;
      const bool is_left = word->box.x1 <= found.left + 1e-6;
      (is_above ? columns.above : is_below ? columns.below : is_left ? columns.left : columns.right).push_back(word);
    }
    const double narrowest = kNarrowest * search.size();
    if (!are_side_by_side(columns, scans, found.both)) return;
    if (!holds_text(columns.left, narrowest) || !holds_text(columns.right, narrowest)) return;
    most = found.both;
    best = std::move(columns);
  });
  return best;
}

std::optional<Table> find_table(const std::vector<Row>& rows) {
  if (rows.size() < kFewestOfTable || rows.size() > kMostRows) return std::nullopt;
  std::optional<Table> best;
  const Search search(rows);
  search.visit([&](Gutter found) {
    // From the first row with cells on both sides to the last, and what goes on below that.
    const auto is_both = [&](std::size_t row) {
      return rows[row].left() < found.left && rows[row].right() > found.right;
    };
    const std::size_t limit = found.end;
    while (found.first < found.end && !is_both(found.first)) ++found.first;
    while (found.end > found.first && !is_both(found.end - 1)) --found.end;
    const double pitch = least_pitch(rows, found.first, found.end);
    const double usual = usual_pitch(rows, found.first, found.end);
    const auto goes_on = [&](std::size_t row) {
      if (row <= found.first || is_both(row)) return false;
      const double distance = rows[row].baseline - rows[row - 1].baseline;
      // In the first column it may be text below the table, unless that is set wider.
      const bool is_inside = rows[row].left() > found.right || kSamePitch * distance < usual;
      return is_inside && distance < kSamePitch * std::max(pitch, kPitch * rows[row].size);
    };
    while (found.end < limit && goes_on(found.end)) ++found.end;
    std::size_t count = found.end - found.first;
    for (std::size_t row = found.first; row < found.end; ++row) count -= goes_on(row);
    if (count < kFewestOfTable || found.both * 5 < count * 4) return;
    Table table{found.first, found.end, common_gaps(search, found.first, found.end), {}};
    if (table.gutters.empty() || (table.gutters.size() == 1 && is_list(rows, table))) return;
    const auto cells = [](const Table& one) { return (one.end - one.first) * (one.gutters.size() + 1); };
    if (!best || cells(table) > cells(*best)) best = std::move(table);
  });
  if (best) best->starts = starts_of(rows, *best);
  return best;
}

}  // namespace smolfast::layout
