#include "layout/figures.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <limits>

namespace smolfast::layout {
namespace {

constexpr double kNarrowest = 36;           // A smaller picture is a sign, in points.
constexpr double kWhole = 0.85;             // Of the page: a larger one is its ground, or a scan.
constexpr double kTouch = 3;                // Parts of one picture stand no further apart.
constexpr double kCaption = 45;             // A caption stands no further from it.
constexpr std::size_t kMostTogether = 400;  // Pictures of a page. Time grows with the square.
constexpr std::size_t kText = 40;           // So many letters on a picture, and it is the ground of a text.

bool touch(const Box& a, const Box& b) {
  return a.x0 < b.x1 + kTouch && b.x0 < a.x1 + kTouch && a.y0 < b.y1 + kTouch && b.y0 < a.y1 + kTouch;
}

void widen(Box& a, const Box& b) {
  a = {std::min(a.x0, b.x0), std::min(a.y0, b.y0), std::max(a.x1, b.x1), std::max(a.y1, b.y1)};
}

void unite(std::vector<Box>& pictures) {
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t at = 0; at < pictures.size(); ++at) {
      for (std::size_t other = at + 1; other < pictures.size();) {
        if (!touch(pictures[at], pictures[other])) {
          ++other;
          continue;
        }
        widen(pictures[at], pictures[other]);
        pictures.erase(pictures.begin() + static_cast<std::ptrdiff_t>(other));
        changed = true;
      }
    }
  }
}

bool is_beside(const Box& a, const Box& b) {
  return std::min(a.x1, b.x1) - std::max(a.x0, b.x0) > 0;
}

bool is_ground(const Box& picture, const std::vector<Block>& blocks) {
  return std::any_of(blocks.begin(), blocks.end(), [&](const Block& block) {
    const double x = (block.box.x0 + block.box.x1) / 2, y = (block.box.y0 + block.box.y1) / 2;
    return block.characters > kText && x > picture.x0 && x < picture.x1 && y > picture.y0 && y < picture.y1;
  });
}

std::size_t place_of(const Box& picture, const std::vector<Block>& blocks) {
  double nearest = kCaption;
  std::size_t place = blocks.size();
  for (std::size_t at = 0; at < blocks.size(); ++at) {
    const Block& block = blocks[at];
    if (block.kind != Kind::kCaption || !is_beside(block.box, picture)) continue;
    const bool is_below = block.box.y0 > (picture.y0 + picture.y1) / 2;
    const double apart = is_below ? block.box.y0 - picture.y1 : picture.y0 - block.box.y1;
    if (apart >= nearest) continue;
    nearest = apart;
    place = at;
  }
  if (nearest < kCaption) return place;
  for (std::size_t at = blocks.size(); at-- > 0;) {
    const Box& box = blocks[at].box;
    if (blocks[at].kind != Kind::kFootnote && is_beside(box, picture) && box.y1 < picture.y0 + kTouch) return at + 1;
  }
  for (std::size_t at = 0; at < blocks.size(); ++at) {
    if (is_beside(blocks[at].box, picture) && blocks[at].box.y0 > picture.y1 - kTouch) return at;
  }
  return blocks.size();
}

}  // namespace

void place_figures(std::vector<Block>& blocks, std::vector<Box> pictures, double width, double height) {
  for (Box& box : pictures) {
    box = {std::max(box.x0, 0.0), std::max(box.y0, 0.0), std::min(box.x1, width), std::min(box.y1, height)};
  }
  std::erase_if(pictures, [](const Box& box) { return box.width() <= 0 || box.height() <= 0; });
  if (pictures.size() > kMostTogether) return;
  unite(pictures);
  std::erase_if(pictures, [&](const Box& box) {
    return std::min(box.width(), box.height()) < kNarrowest || box.width() * box.height() > kWhole * width * height ||
           is_ground(box, blocks);
  });
  std::stable_sort(pictures.begin(), pictures.end(), [](const Box& a, const Box& b) { return a.y0 < b.y0; });
  for (const Box& box : pictures) {
    const auto place = blocks.begin() + static_cast<std::ptrdiff_t>(place_of(box, blocks));
    blocks.insert(place, Block{Kind::kFigure, box, 0, 0, {}});
  }
}

}  // namespace smolfast::layout
