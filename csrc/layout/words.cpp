#include "layout/words.h"

#include <algorithm>
#include <cmath>

namespace smolfast::layout {
namespace {

// In sizes of the font.
constexpr double kSameBaseline = 0.35;
constexpr double kSameRow = 0.5;
constexpr double kWordGap = 0.3;  // PDFium sets spaces where gaps are narrower.
constexpr double kOverlap = 1.2;  // Letters of a ligature all have its box.

bool is_space(char32_t code) {
  return code == U' ' || code == U'\t' || code == 0xA0 || (code >= 0x2000 && code <= 0x200A) || code == 0x202F ||
         code == 0x3000;
}

// Neither drawn nor a hyphen (PDFium gives 2 for one at the end of a line).
bool is_nothing(char32_t code) {
  return (code < 0x20 && code != kHyphen) || code == 0xFFFE || code == 0xFEFF;
}

void append(std::u32string& to, char32_t code) {
  static const char32_t* const kLigatures[] = {U"ff", U"fi", U"fl", U"ffi", U"ffl", U"st", U"st"};
  if (code >= 0xFB00 && code <= 0xFB06) {
    to += kLigatures[code - 0xFB00];
  } else {
    to += code == kHyphen || code == 0xAD ? U'-' : code;
  }
}

bool goes_on(const Word& word, const Character& last, const Character& next, bool rtl) {
  const double size = std::max(word.size, next.size);
  if (std::abs(next.pen_y - last.pen_y) > kSameBaseline * size) return false;
  const double right = next.box.x0 - last.box.x1, left = last.box.x0 - next.box.x1;
  if (rtl && word.right_to_left) return std::max(left, right) < kWordGap * size;
  return right < kWordGap * size && right > -kOverlap * size;
}

void widen(Box& box, const Box& by) {
  box = {std::min(box.x0, by.x0), std::min(box.y0, by.y0), std::max(box.x1, by.x1), std::max(box.y1, by.y1)};
}

}  // namespace

bool is_right_to_left(char32_t code) {
  return (code >= 0x590 && code <= 0x8FF) || (code >= 0xFB1D && code <= 0xFDFF) || (code >= 0xFE70 && code <= 0xFEFC) ||
         (code >= 0x10800 && code <= 0x10FFF) || (code >= 0x1E800 && code <= 0x1EFFF);
}

std::vector<Word> make_words(const std::vector<Character>& characters) {
  std::vector<Word> words;
  const Character* last = nullptr;
  for (const Character& next : characters) {
    if (is_nothing(next.code) || is_space(next.code)) {
      last = nullptr;
      continue;
    }
    const bool rtl = is_right_to_left(next.code);
    if (last == nullptr || !goes_on(words.back(), *last, next, rtl)) {
      words.push_back({{}, next.box, next.pen_y, next.size, rtl});
      append(words.back().text, next.code);
    } else {
      Word& word = words.back();
      if (rtl && next.box.x0 > last->box.x0 && word.right_to_left) {  // drawn from left to right
        word.text.insert(word.text.begin(), next.code);
      } else {
        append(word.text, next.code);
      }
      widen(word.box, next.box);
      if (next.size > word.size) {
        word.size = next.size;
        word.baseline = next.pen_y;
      }
    }
    last = &next;
  }
  return words;
}

std::vector<Row> make_rows(Words words) {
  std::stable_sort(words.begin(), words.end(), [](const Word* a, const Word* b) { return a->baseline < b->baseline; });
  std::vector<Row> rows;
  for (const Word* word : words) {
    const double middle = (word->box.y0 + word->box.y1) / 2;
    const bool joins = !rows.empty() && middle > rows.back().top && middle < rows.back().bottom &&
                       word->baseline - rows.back().baseline < kSameRow * std::max(word->size, rows.back().size);
    if (!joins) rows.push_back({{}, word->baseline, word->size, word->box.y0, word->box.y1});
    Row& row = rows.back();
    row.words.push_back(word);
    if (word->size > row.size) {
      row.size = word->size;
      row.baseline = word->baseline;
    }
    row.top = std::min(row.top, word->box.y0);
    row.bottom = std::max(row.bottom, word->box.y1);
  }
  for (Row& row : rows) {
    std::stable_sort(row.words.begin(), row.words.end(),
                     [](const Word* a, const Word* b) { return a->box.x0 < b->box.x0; });
  }
  return rows;
}

std::u32string read_words(const Words& words) {
  const auto rtl = std::count_if(words.begin(), words.end(), [](const Word* word) { return word->right_to_left; });
  Words order = words;
  if (2 * static_cast<std::size_t>(rtl) >= words.size() && rtl > 0) {
    std::reverse(order.begin(), order.end());
    for (auto from = order.begin(); from != order.end();) {  // what is written from left to right inside
      if ((*from)->right_to_left) {
        ++from;
        continue;
      }
      const auto to = std::find_if(from, order.end(), [](const Word* word) { return word->right_to_left; });
      std::reverse(from, to);
      from = to;
    }
  } else if (rtl > 0) {
    for (auto from = order.begin(); from != order.end();) {
      if (!(*from)->right_to_left) {
        ++from;
        continue;
      }
      const auto to = std::find_if(from, order.end(), [](const Word* word) { return !word->right_to_left; });
      std::reverse(from, to);
      from = to;
    }
  }
  std::u32string text;
  const Word* last = nullptr;
  for (const Word* word : order) {
    // Words that touch were cut by a change of place alone, as at an accent or a superscript.
    const bool touches = last != nullptr && !word->right_to_left && word->box.x0 - last->box.x1 < 0.08 * word->size &&
                         word->box.x0 > last->box.x0;
    if (last != nullptr && !touches) text += U' ';
    text += word->text;
    last = word;
  }
  return text;
}

double median_size(const Words& words) {
  if (words.empty()) return 0;
  std::vector<double> sizes;
  sizes.reserve(words.size());
  for (const Word* word : words) sizes.push_back(word->size);
  const auto middle = sizes.begin() + static_cast<std::ptrdiff_t>(sizes.size() / 2);
  std::nth_element(sizes.begin(), middle, sizes.end());
  return *middle;
}

}  // namespace smolfast::layout
