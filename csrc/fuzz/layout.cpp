// Pages of any characters anywhere: no letter or digit is lost or made, and every block has text and a place.
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "fuzz/fuzz.h"
#include "layout/page.h"

namespace {

using namespace smolfast;

constexpr std::size_t kBytes = 7;  // Of the input, for each character.

double any_double(const uint8_t* data) {
  double found = 0;
  std::memcpy(&found, data - (sizeof found - kBytes), sizeof found);
  return std::isfinite(found) ? found : 0;
}

// Mostly letters on a grid, as pages are; sometimes places and sizes of any number.
layout::Character character(const uint8_t* data, bool wild) {
  static constexpr std::array<char32_t, 18> kOthers = {U' ',     U'-',   U'.',   U'|',   U'\\',  layout::kHyphen,
                                                       0xAD,     0x2022, 0x5D0,  0x6F22, 0xFFFE, 0xD800,
                                                       0x110000, 0xFB01, 0x0301, U'\n',  0x3042, 0x8A18};
  layout::Character one;
  one.code = data[0] < 200 ? static_cast<char32_t>("abcdefghijklmnopqrstuvwxyz0123456789"[data[0] % 36])
                           : kOthers[data[0] % kOthers.size()];
  one.size = 1 + data[3] % 24;
  one.pen_x = 2.5 * data[1];
  one.pen_y = 3.0 * data[2];
  double width = one.size * (data[4] % 16) / 10.0;
  if (wild && data[5] > 200) {
    one.pen_x = any_double(data);
    width = std::abs(one.pen_x) / 2;
    one.size = 1 + std::abs(one.pen_x) / 7;
  }
  one.box = {one.pen_x, one.pen_y - 0.8 * one.size, one.pen_x + width, one.pen_y + 0.2 * one.size};
  one.turn = data[6] < 220 ? 0 : data[6] & 3;
  return one;
}

bool is_counted(char32_t code) {
  return (code >= U'a' && code <= U'z') || (code >= U'0' && code <= U'9');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  if (size < 1 + kBytes) return 0;
  const bool wild = (data[0] & 1) != 0;
  const int rows = 1 + (data[0] >> 4);
  std::vector<layout::Character> characters;
  std::map<char32_t, std::size_t> expected, found;
  // Each character becomes a word of its like, and all of them stand in some rows below each other: few bytes make
  // columns and tables.
  for (std::size_t at = 1; at + kBytes <= size; at += kBytes) {
    layout::Character one = character(data + at, wild);
    const double step = one.box.width(), down = (data[0] & 2) != 0 ? 1.3 * one.size : 12;
    const int letters = 1 + data[at + 5] % 6;
    for (int row = 0; row < rows; ++row) {
      layout::Character next = one;
      next.pen_y += row * down;
      next.box.y0 += row * down;
      next.box.y1 += row * down;
      for (int letter = 0; letter < letters; ++letter) {
        if (!std::isfinite(next.box.x1 + next.box.y1)) break;
        characters.push_back(next);
        next.pen_x += step;
        next.box.x0 += step;
        next.box.x1 += step;
      }
    }
  }
  for (const layout::Character& one : characters) {
    if (is_counted(one.code)) ++expected[one.code];
    if (one.code == 0xFB01) {  // a ligature
      ++expected[U'f'];
      ++expected[U'i'];
    }
  }
  for (const layout::Block& block : layout::arrange_page(characters)) {
    fuzz::check(!block.text.empty(), "a block without text");
    fuzz::check(std::isfinite(block.size) && block.size > 0, "a block without a size");
    fuzz::check(block.box.x0 <= block.box.x1 && block.box.y0 <= block.box.y1, "a block without a place");
    for (const char byte : block.text) {
      const auto code = static_cast<char32_t>(static_cast<unsigned char>(byte));
      if (is_counted(code)) ++found[code];
    }
  }
  fuzz::check(found == expected, "letters are lost or made");
  return 0;
}
