#include "layout/gutters.h"

#include <algorithm>
#include <limits>

namespace smolfast::layout {
namespace {

constexpr double kNarrowest = 0.9;      // A gutter, in sizes of the font.
constexpr double kApart = 3.0;          // Rows further apart don't belong together.
constexpr std::size_t kMostRows = 400;  // Of a page. Time grows with the square.
constexpr std::size_t kFewestRows = 4;  // Of columns.
constexpr double kFull = 0.6;           // A line that fills so much of its column is one of text.
constexpr std::size_t kFewestOfTable = 3;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Gap = std::pair<double, double>;

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
    if (best.second - best.first < kNarrowest * size_ || apart > (inside ? 2 * kApart : kApart / 2) * size_)
      return false;
    gutter.left = best.first;
    gutter.right = best.second;
    gutter.both += inside;
    return true;
  }

  const std::vector<Row>& rows_;
  std::vector<std::vector<Gap>> gaps_;
  double size_ = 0;
};

// Whether lines of text fill the sides of a gutter, and not words of a table or of a list.
bool holds_text(const std::vector<Row>& rows, const Gutter& gutter, double narrowest) {
  for (const bool left : {true, false}) {
    std::vector<double> widths;
    std::size_t words = 0;
    for (std::size_t row = gutter.first; row < gutter.end; ++row) {
      double begin = 0, end = -kInfinity, longest = 0;
      for (const Word* word : rows[row].words) {
        if ((word->box.x1 <= gutter.left + 1e-6) != left) continue;
        if (word->box.x0 - end >= narrowest) begin = word->box.x0;
        end = std::max(end, word->box.x1);
        longest = std::max(longest, end - begin);
        ++words;
      }
      if (longest > 0) widths.push_back(longest);
    }
    if (widths.size() < kFewestRows || words < 3 * widths.size()) return false;
    // Against a long line and not the whole side, which may hold further columns.
    std::vector<double> sorted = widths;
    std::sort(sorted.begin(), sorted.end());
    const double usual = sorted[sorted.size() * 3 / 4];
    const auto full = std::count_if(widths.begin(), widths.end(), [&](double width) { return width >= kFull * usual; });
    if (2 * static_cast<std::size_t>(full) < widths.size()) return false;
  }
  return true;
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

}  // namespace

std::optional<Gutter> find_columns(const std::vector<Row>& rows) {
  if (rows.size() < kFewestRows || rows.size() > kMostRows) return std::nullopt;
  std::optional<Gutter> best;
  const Search search(rows);
  search.visit([&](const Gutter& found) {
    if (found.both * 4 < found.end - found.first || (best && found.both <= best->both)) return;
    if (holds_text(rows, found, kNarrowest * search.size())) best = found;
  });
  return best;
}

std::optional<Table> find_table(const std::vector<Row>& rows) {
  if (rows.size() < kFewestOfTable || rows.size() > kMostRows) return std::nullopt;
  std::optional<Table> best;
  const Search search(rows);
  search.visit([&](Gutter found) {
    // From the first row with cells on both sides to the last.
    const auto is_both = [&](std::size_t row) {
      return rows[row].left() < found.left && rows[row].right() > found.right;
    };
    while (found.first < found.end && !is_both(found.first)) ++found.first;
    while (found.end > found.first && !is_both(found.end - 1)) --found.end;
    const std::size_t count = found.end - found.first;
    if (count < kFewestOfTable || found.both * 5 < count * 4) return;
    Table table{found.first, found.end, common_gaps(search, found.first, found.end)};
    if (table.gutters.empty() || (table.gutters.size() == 1 && is_list(rows, table))) return;
    const auto cells = [](const Table& one) { return (one.end - one.first) * (one.gutters.size() + 1); };
    if (!best || cells(table) > cells(*best)) best = std::move(table);
  });
  return best;
}

}  // namespace smolfast::layout
