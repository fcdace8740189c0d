#include "layout/spacing.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>

namespace smolfast::layout {
namespace {

// In sizes of the font.
constexpr double kSameBaseline = 0.05;
constexpr double kSameGap = 0.02;
constexpr double kLeast = 0.03;  // Below it letters touch.
constexpr double kMost = 0.35;   // A space between words is rarely narrower where letters are spaced.

constexpr double kSamePitch = 0.01;       // In pitches.
constexpr std::size_t kPlainGaps = 2;     // Of one stretch: between letters that touch in no other text.
constexpr std::size_t kWordsOfAGrid = 3;  // And half of all that have such gaps.

// The letters [first, last] of a line between which all gaps are the same.
struct Stretch {
  std::size_t first, last;
  double size, gap;
  std::size_t gaps = 0, spaces = 0;
  double widths = 0;  // Of all letters.

  // Of a grid: LaTeX's listings give a word a place for each letter, and fill what is left before, between and behind.
  double pitch() const { return (widths + static_cast<double>(gaps + 2) * gap) / static_cast<double>(gaps + 1); }
  bool fits(double grid) const {
    const double wider = pitch() + gap / static_cast<double>(gaps + 1);  // Some words have a share more behind them.
    return std::abs(pitch() - grid) < kSamePitch * grid || std::abs(wider - grid) < kSamePitch * grid;
  }
  bool is_spaced_word() const { return gaps - spaces >= kPlainGaps; }
  long size_class() const { return std::lround(20 * size); }
};

// Lines of ideographs and kana are filled by gaps between all letters, as wide as a space where they must.
bool is_wide(char32_t code) {
  return code >= 0x2E80;
}

bool is_spaced(const Character& a, const Character& b, double gap) {
  return !is_wide(a.code) && !is_wide(b.code) && std::abs(b.pen_y - a.pen_y) < kSameBaseline * a.size &&
         std::abs(b.size - a.size) < kSameBaseline * a.size && gap > kLeast * a.size && gap < kMost * a.size;
}

std::vector<Stretch> find_stretches(const std::vector<Character>& characters) {
  std::vector<Stretch> found;
  bool goes_on = false;
  std::size_t last = characters.size();
  for (std::size_t at = 0; at < characters.size(); ++at) {
    const Character& next = characters[at];
    if (next.code == U' ') continue;
    if (last < at) {
      const double gap = next.box.x0 - characters[last].box.x1;
      if (!is_spaced(characters[last], next, gap)) {
        goes_on = false;
      } else {
        if (!goes_on || std::abs(gap - found.back().gap) > kSameGap * next.size) {
          found.push_back({last, last, next.size, gap, 0, 0, characters[last].box.width()});
        }
        goes_on = true;
        Stretch& stretch = found.back();
        stretch.last = at;
        ++stretch.gaps;
        stretch.spaces += at - last > 1;
        stretch.widths += next.box.width();
      }
    }
    last = at;
  }
  return found;
}

// The pitch that the spaced words of a size share, by the size's class; words that are spaced otherwise share none.
std::map<long, double> find_grids(const std::vector<Stretch>& stretches) {
  std::map<long, std::vector<double>> pitches;
  for (const Stretch& stretch : stretches) {
    if (stretch.is_spaced_word()) pitches[stretch.size_class()].push_back(stretch.pitch());
  }
  std::map<long, double> grids;
  for (auto& [size, found] : pitches) {
    const auto middle = found.begin() + static_cast<std::ptrdiff_t>(found.size() / 2);
    std::nth_element(found.begin(), middle, found.end());
    const double pitch = *middle;
    const auto like = static_cast<std::size_t>(std::count_if(
        found.begin(), found.end(), [&](double one) { return std::abs(one - pitch) < kSamePitch * pitch; }));
    if (like >= kWordsOfAGrid && 2 * like >= found.size()) grids[size] = pitch;
  }
  return grids;
}

}  // namespace

void drop_false_spaces(std::vector<Character>& characters) {
  const std::vector<Stretch> stretches = find_stretches(characters);
  if (std::none_of(stretches.begin(), stretches.end(), [](const Stretch& one) { return one.spaces > 0; })) return;
  const std::map<long, double> grids = find_grids(stretches);
  std::vector<std::size_t> false_spaces;
  for (const Stretch& stretch : stretches) {
    if (stretch.spaces == 0) continue;
    // Short words have too few gaps to tell by themselves: "if" has one.
    const auto grid = grids.find(stretch.size_class());
    const bool fits = grid != grids.end() && stretch.fits(grid->second);
    if (!fits && !stretch.is_spaced_word()) continue;
    for (std::size_t at = stretch.first; at < stretch.last; ++at) {
      if (characters[at].code == U' ') false_spaces.push_back(at);
    }
  }
  if (false_spaces.empty()) return;
  auto next = false_spaces.begin();
  std::size_t kept = 0;
  for (std::size_t at = 0; at < characters.size(); ++at) {
    if (next != false_spaces.end() && *next == at) {
      ++next;
    } else {
      characters[kept++] = characters[at];
    }
  }
  characters.resize(kept);
}

}  // namespace smolfast::layout
