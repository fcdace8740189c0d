#include "layout/vertical.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace smolfast::layout {
namespace {

// In sizes of the font.
constexpr double kSamePen = 0.3;
constexpr double kLeastStep = 0.5, kMostStep = 1.5;
constexpr double kAscent = 0.88;  // Of a square letter above its baseline.
constexpr double kBaseline = 0.25;
constexpr double kInColumn = 0.6;
constexpr double kSameSize = 1.12;
constexpr std::size_t kLongRun = 6;  // Letters that are a column on a page of lines.
constexpr int kTurn = 3;

bool is_mark(const Character& one) {
  return one.code == U' ';
}

bool is_down(const Character& from, const Character& to) {
  const double size = std::max(from.size, to.size);
  const double step = to.pen_y - from.pen_y;
  return size <= kSameSize * std::min(from.size, to.size) && std::abs(to.pen_x - from.pen_x) < kSamePen * size &&
         step > kLeastStep * size && step < kMostStep * size;
}

bool is_across(const Character& from, const Character& to) {
  const double size = std::max(from.size, to.size);
  const double step = to.pen_x - from.pen_x;
  return std::abs(to.pen_y - from.pen_y) < kSamePen * size && step > 0 && step < kMostStep * size;
}

// Letters drawn one below the other, by their places in the list.
struct Run {
  std::vector<std::size_t> members;
  std::size_t upright = 0;
  std::size_t last = 0;  // The upright letter that the next one is measured by.
};

// A number of two digits, or a Latin letter, in the place of one letter or below it.
bool stands_in(const Character& one, const Character& last) {
  const double middle = (one.box.x0 + one.box.x1) / 2 - (last.pen_x + last.size / 2);
  const double step = one.pen_y - last.pen_y;
  return std::abs(middle) < kInColumn * last.size && step > kLeastStep * last.size && step < kMostStep * last.size;
}

std::vector<Run> find_runs(const std::vector<Character>& characters) {
  std::vector<Run> runs;
  Character last{};  // The last letter of the run, or where the numbers in it stand.
  bool open = false;
  for (std::size_t at = 0; at < characters.size(); ++at) {
    const Character& one = characters[at];
    if (is_mark(one)) continue;
    if (one.turn != 0) {
      open = false;
    } else if (!is_upright(one.code)) {
      if (!open) continue;
      const Character& before = characters[runs.back().members.back()];
      const bool beside = !is_upright(before.code) && is_across(before, one);
      if (!beside && !stands_in(one, last)) {
        open = false;
        continue;
      }
      if (!beside) last.pen_y = one.pen_y;
      runs.back().members.push_back(at);
    } else {
      if (!open || !is_down(last, one)) runs.push_back({});
      runs.back().members.push_back(at);
      ++runs.back().upright;
      runs.back().last = at;
      last = one;
      open = true;
    }
  }
  return runs;
}

void turn_run(std::vector<Character>& characters, const Run& run, std::vector<bool>& dropped) {
  const double size = characters[run.last].size, axis = characters[run.last].pen_x;
  std::size_t in_cell = 0;
  double cell = 0;
  bool was_upright = true;
  Character before{};
  for (std::size_t at = 0; at < run.members.size(); ++at) {
    Character& one = characters[run.members[at]];
    const bool upright = is_upright(one.code);
    const Character seen = one;
    if (upright || was_upright || !is_across(before, seen)) {
      cell = one.pen_y - kAscent * size;
      in_cell = 0;
    }
    const double half = size / 2;
    const double top = upright ? cell : cell + half * static_cast<double>(in_cell++);
    double end = top + (upright ? size : half);
    if (at + 1 < run.members.size()) {  // Letters set apart are one word all the same.
      end = std::max(end, characters[run.members[at + 1]].pen_y - kAscent * size);
    }
    one.box = {axis, top, axis + size, end};
    one.pen_x = axis + kBaseline * size;
    one.pen_y = top;
    one.turn = kTurn;
    before = seen;
    was_upright = upright;
    if (at > 0) {
      for (std::size_t mark = run.members[at - 1] + 1; mark < run.members[at]; ++mark) dropped[mark] = true;
    }
  }
}

}  // namespace

bool is_upright(char32_t code) {
  return (code >= 0x2E80 && code <= 0x9FFF) || (code >= 0xAC00 && code <= 0xD7AF) ||
         (code >= 0xF900 && code <= 0xFAFF) || (code >= 0xFE10 && code <= 0xFE1F) ||
         (code >= 0xFE30 && code <= 0xFE4F) || (code >= 0xFF00 && code <= 0xFFEF) ||
         (code >= 0x1B000 && code <= 0x1B16F) || (code >= 0x20000 && code <= 0x3FFFF);
}

void turn_vertical(std::vector<Character>& characters) {
  const auto is_candidate = [](const Character& one) { return one.turn == 0 && is_upright(one.code); };
  const auto upright = static_cast<std::size_t>(std::count_if(characters.begin(), characters.end(), is_candidate));
  if (upright == 0) return;
  const std::vector<Run> runs = find_runs(characters);
  std::size_t down = 0, across = 0;
  for (const Run& run : runs) down += run.upright > 1 ? run.upright : 0;
  std::vector<bool> in_line(characters.size(), false);
  std::size_t before = characters.size();
  for (std::size_t at = 0; at < characters.size(); ++at) {
    if (is_mark(characters[at])) continue;
    if (before < at && is_candidate(characters[before]) && is_candidate(characters[at]) &&
        is_across(characters[before], characters[at])) {
      ++across;
      in_line[before] = in_line[at] = true;
    }
    before = at;
  }
  const bool is_vertical = down > across;
  std::vector<bool> dropped(characters.size(), false);
  bool any = false;
  for (const Run& run : runs) {
    const bool alone = run.upright == 1 && in_line[run.members.front()];
    if (is_vertical ? alone : run.upright < kLongRun) continue;
    turn_run(characters, run, dropped);
    any = true;
  }
  if (!any) return;
  std::size_t to = 0;
  for (std::size_t at = 0; at < characters.size(); ++at) {
    if (!dropped[at]) characters[to++] = characters[at];
  }
  characters.resize(to);
}

}  // namespace smolfast::layout
