// A text's lines or paragraphs, and which of them repeat one before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "filters/range_set.h"

namespace smolfast::filters {

struct Stretch {
  std::string_view bytes;
  std::size_t characters;
  bool blank;     // only white space, or nothing
  bool repeated;  // equal to one before
};

// Text between line feeds, cut as re.split(r"\n{least,}") cuts it: at runs of `least` or more. `ascii`: whether a
// character is a byte.
void split_at_line_feeds(std::string_view text, bool ascii, std::size_t least, std::vector<Stretch>& stretches);
// Fills `repeated`.
void find_repeated(std::vector<Stretch>& stretches, RangeSet& seen);

}  // namespace smolfast::filters
