// The page as a whole: columns and tables are taken apart, and rows become blocks.
#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>

#include "layout/gutters.h"
#include "layout/page.h"
#include "layout/spacing.h"
#include "layout/vertical.h"
#include "layout/words.h"

namespace smolfast::layout {
namespace {

constexpr double kNewBlock = 1.35;   // Of the usual distance of lines.
constexpr double kPitch = 1.15;      // At least so many sizes from line to line.
constexpr double kOtherSize = 1.12;  // Sizes further apart than this make two blocks.
constexpr double kIndent = 0.9;      // Of a paragraph's first line, in sizes of the font.
constexpr double kSmall = 0.92;      // Of the page's usual size: footnotes.
constexpr double kRoom = 1.5;        // Beside a word that would have fitted into the line before, in sizes.
constexpr int kDeepest = 40;

void append_utf8(std::string& to, char32_t code) {
  if (code < 0x80) {
    to += static_cast<char>(code);
  } else if (code < 0x800) {
    to += static_cast<char>(0xC0 | (code >> 6));
    to += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    if (code >= 0xD800 && code < 0xE000) code = 0xFFFD;
    to += static_cast<char>(0xE0 | (code >> 12));
    to += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    to += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x110000) {
    to += static_cast<char>(0xF0 | (code >> 18));
    to += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    to += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    to += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    append_utf8(to, 0xFFFD);
  }
}

void append_utf8(std::string& to, const std::u32string& text) {
  for (const char32_t code : text) append_utf8(to, code);
}

bool is_letter(char32_t code) {
  return (code >= U'a' && code <= U'z') || (code >= U'A' && code <= U'Z') || (code >= 0xC0 && code < 0x2000);
}

bool is_upper(char32_t code) {
  return (code >= U'A' && code <= U'Z') || (code >= 0xC0 && code <= 0xDE);
}

bool is_hyphen(char32_t code) {
  return code == U'-' || code == 0x2010;
}

bool is_bullet(char32_t code) {
  return code == 0x2022 || code == 0x25CF || code == 0x25AA || code == 0x2023 || code == 0x25E6 || code == 0x2013;
}

void count(Block& block, const Row& row) {
  for (const Word* word : row.words) {
    block.characters += word->text.size();
    if (block.box.x1 <= block.box.x0) block.box = word->box;
    block.box = {std::min(block.box.x0, word->box.x0), std::min(block.box.y0, word->box.y0),
                 std::max(block.box.x1, word->box.x1), std::max(block.box.y1, word->box.y1)};
  }
}

bool starts_with(const std::string& text, const char* head) {
  return text.rfind(head, 0) == 0;
}

bool is_caption(const std::string& text) {
  for (const char* head : {"Figure ", "Fig. ", "Table ", "Abbildung ", "Tabelle ", "Listing "}) {
    if (starts_with(text, head)) {
      const std::size_t at = std::char_traits<char>::length(head);
      return at < text.size() && text[at] >= '0' && text[at] <= '9';
    }
  }
  return false;
}

class Arranger {
 public:
  std::vector<Block> blocks;

  void arrange(const Words& words, int depth) {
    if (words.empty()) return;
    if (depth < kDeepest) {
      if (const auto columns = find_columns(words)) {
        const bool rtl = is_right_to_left(words);
        arrange(columns->above, depth + 1);
        arrange(rtl ? columns->right : columns->left, depth + 1);
        arrange(rtl ? columns->left : columns->right, depth + 1);
        arrange(columns->below, depth + 1);
        return;
      }
    }
    const std::vector<Row> rows = make_rows(words);
    if (depth < kDeepest) {
      if (const auto table = find_table(rows)) {
        arrange(rows, 0, table->first, depth);
        add_table(rows, *table);
        arrange(rows, table->end, rows.size(), depth);
        return;
      }
    }
    add_text(rows);
  }

 private:
  static bool is_right_to_left(const Words& words) {
    return 2 * std::count_if(words.begin(), words.end(), [](const Word* word) { return word->right_to_left; }) >
           static_cast<std::ptrdiff_t>(words.size());
  }

  void arrange(const std::vector<Row>& rows, std::size_t first, std::size_t end, int depth) {
    Words words;
    for (std::size_t row = first; row < end; ++row) {
      words.insert(words.end(), rows[row].words.begin(), rows[row].words.end());
    }
    arrange(words, depth + 1);
  }

  void add_table(const std::vector<Row>& rows, const Table& table) {
    Block block{Kind::kTable, {}, 0, 0, {}};
    std::vector<std::u32string> cells(table.gutters.size() + 1);
    bool is_head = true;
    for (std::size_t row = table.first; row < table.end; ++row) {
      std::vector<Words> words(cells.size());
      for (const Word* word : rows[row].words) words[cell_of(table, *word)].push_back(word);
      for (std::size_t cell = 0; cell < cells.size(); ++cell) {
        if (words[cell].empty()) continue;
        const std::u32string next = read_words(words[cell]);
        if (is_cut(cells[cell], next)) {
          cells[cell].back() = kHyphen;
        } else if (!cells[cell].empty()) {
          cells[cell] += U' ';
        }
        cells[cell] += next;
      }
      count(block, rows[row]);
      block.size = std::max(block.size, rows[row].size);
      if (row + 1 < table.end && !table.starts[row + 1 - table.first]) continue;
      for (std::u32string& cell : cells) {
        block.text += "| ";
        std::string text;
        append_utf8(text, cell);
        for (const char byte : text) {
          if (byte == '|') block.text += '\\';
          block.text += byte;
        }
        if (!cell.empty()) block.text += ' ';
        cell.clear();
      }
      block.text += "|\n";
      if (is_head) {
        for (std::size_t cell = 0; cell < cells.size(); ++cell) block.text += "|---";
        block.text += "|\n";
      }
      is_head = false;
    }
    block.text.pop_back();
    blocks.push_back(std::move(block));
  }

  void add_text(const std::vector<Row>& rows) {
    const double pitch = usual_pitch(rows);
    double left = rows.front().left(), right = rows.front().right();
    for (const Row& row : rows) {
      left = std::min(left, row.left());
      right = std::max(right, row.right());
    }
    std::u32string line;
    for (std::size_t at = 0; at < rows.size(); ++at) {
      const Row& row = rows[at];
      if (at == 0 || is_new(rows[at - 1], row, pitch, at >= 2 ? rows[at - 2].left() : left)) {
        finish(line, false);
        blocks.push_back({Kind::kText, {}, row.size, 0, {}});
      } else {
        const std::u32string next = read_words(row.words);
        const bool hyphen = is_cut(line, next);
        finish(line, hyphen);
        if (!hyphen) blocks.back().text += had_room(rows[at - 1], row, right) ? '\v' : '\n';
      }
      count(blocks.back(), row);
      line = read_words(row.words);
    }
    finish(line, false);
  }

  // Whether a word is cut at the end of a line.
  static bool is_cut(const std::u32string& line, const std::u32string& next) {
    return line.size() > 1 && is_hyphen(line.back()) && is_letter(line[line.size() - 2]) && is_letter(next.front()) &&
           !is_upper(next.front());
  }

  void finish(std::u32string& line, bool hyphen) {
    if (line.empty()) return;
    if (hyphen) line.back() = kHyphen;
    append_utf8(blocks.back().text, line);
    line.clear();
  }

  static bool is_new(const Row& before, const Row& row, double pitch, double left_before) {
    if (row.baseline - before.baseline > kNewBlock * std::max(pitch, kPitch * std::min(row.size, before.size)))
      return true;
    if (std::max(row.size, before.size) > kOtherSize * std::min(row.size, before.size)) return true;
    if (is_bullet(row.words.front()->text.front())) return true;
    if (hangs(before, row)) return false;
    const double indent = row.left() - before.left();
    return indent > kIndent * row.size && indent < 4 * row.size && before.left() <= left_before + kIndent * row.size;
  }

  // Whether a line goes on under the first word behind the number or the sign of a list.
  static bool hangs(const Row& before, const Row& row) {
    if (before.words.size() < 2 || before.words.front()->text.size() > 4) return false;
    return std::abs(row.left() - before.words[1]->box.x0) < 0.3 * row.size;
  }

  // Whether a line was ended on purpose, as in poems and programs: the next word would have fitted.
  static bool had_room(const Row& before, const Row& row, double right) {
    const double width = row.words.front()->box.width();
    return before.right() + width + kRoom * row.size < right;
  }

  static double usual_pitch(const std::vector<Row>& rows) {
    std::vector<double> distances;
    for (std::size_t at = 1; at < rows.size(); ++at) {
      const double distance = rows[at].baseline - rows[at - 1].baseline;
      if (distance < 2.2 * rows[at].size) distances.push_back(distance);
    }
    if (distances.empty()) return rows.front().size * 1.3;
    // The lower third: distances of paragraphs must not count as those of lines.
    const auto third = distances.begin() + static_cast<std::ptrdiff_t>(distances.size() / 3);
    std::nth_element(distances.begin(), third, distances.end());
    return *third;
  }
};

double usual_size(const std::vector<Block>& blocks) {
  std::map<long, std::size_t> counts;
  for (const Block& block : blocks) counts[std::lround(block.size * 4)] += block.characters;
  const auto most =
      std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == counts.end() ? 0 : static_cast<double>(most->first) / 4;
}

// Captions get their name, and footnotes that and their place behind all else.
void name_blocks(std::vector<Block>& blocks) {
  const double usual = usual_size(blocks);
  double bottom = 0;
  for (const Block& block : blocks) {
    if (block.size > kSmall * usual && block.characters > 40) bottom = std::max(bottom, block.box.y1);
  }
  for (Block& block : blocks) {
    if (block.kind != Kind::kText) continue;
    const auto first = static_cast<unsigned char>(block.text.front());
    const bool marked = (first >= '0' && first <= '9') || first == '*' || first >= 0x80;
    const bool below = std::none_of(blocks.begin(), blocks.end(), [&](const Block& other) {
      return other.size > kSmall * usual && other.characters > 40 && other.box.y0 > block.box.y0 &&
             other.box.x0 < block.box.x1 && other.box.x1 > block.box.x0;
    });
    if (is_caption(block.text)) {
      block.kind = Kind::kCaption;
    } else if (marked && below && block.size <= kSmall * usual && block.characters > 8 && block.box.y0 > bottom / 2) {
      block.kind = Kind::kFootnote;
    }
  }
  std::stable_partition(blocks.begin(), blocks.end(), [](const Block& block) { return block.kind != Kind::kFootnote; });
}

// A point as it is seen when the writing goes from left to right.
std::array<double, 2> turned(double x, double y, int turn) {
  switch (turn & 3) {
    case 1:
      return {-y, x};
    case 2:
      return {-x, -y};
    case 3:
      return {y, -x};
    default:
      return {x, y};
  }
}

Box turned(const Box& box, int turn) {
  const auto a = turned(box.x0, box.y0, turn), b = turned(box.x1, box.y1, turn);
  return {std::min(a[0], b[0]), std::min(a[1], b[1]), std::max(a[0], b[0]), std::max(a[1], b[1])};
}

}  // namespace

std::vector<Block> arrange_page(const std::vector<Character>& characters) {
  std::array<std::vector<Character>, 4> by_turn;
  std::vector<Character> set;  // A copy only where there is something to turn.
  if (std::any_of(characters.begin(), characters.end(), [](const Character& one) { return is_upright(one.code); })) {
    set = characters;
    turn_vertical(set);
  }
  for (Character one : set.empty() ? characters : set) {
    const int turn = one.turn & 3;
    one.box = turned(one.box, turn);
    const auto pen = turned(one.pen_x, one.pen_y, turn);
    one.pen_x = pen[0];
    one.pen_y = pen[1];
    by_turn[static_cast<std::size_t>(turn)].push_back(one);
  }
  std::array<int, 4> order{0, 1, 2, 3};
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return by_turn[static_cast<std::size_t>(a)].size() > by_turn[static_cast<std::size_t>(b)].size();
  });
  std::vector<Block> blocks;
  for (const int turn : order) {
    std::vector<Character>& of_turn = by_turn[static_cast<std::size_t>(turn)];
    drop_false_spaces(of_turn);
    const std::vector<Word> words = make_words(of_turn);
    Words all;
    all.reserve(words.size());
    for (const Word& word : words) all.push_back(&word);
    Arranger arranger;
    arranger.arrange(all, 0);
    name_blocks(arranger.blocks);
    for (Block& block : arranger.blocks) block.box = turned(block.box, 4 - turn);
    std::move(arranger.blocks.begin(), arranger.blocks.end(), std::back_inserter(blocks));
  }
  return blocks;
}

}  // namespace smolfast::layout
