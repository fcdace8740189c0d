// A text's lines or paragraphs, and which of them repeat one before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "filters/survey.h"

namespace smolfast::filters {

struct Stretch {
  std::string_view bytes;
  std::size_t characters;
  bool blank;     // only white space, or nothing
  bool repeated;  // equal to one before
};

class Stretches {
 public:
  // Text between line feeds, cut as re.split(r"\n{least,}") cuts it: at runs of `least` or more. `text` is a part of
  // `whole`, of which the survey is.
  void split(std::string_view text, std::string_view whole, const Survey& survey, std::size_t least);

  const std::vector<Stretch>& all() const { return stretches_; }
  // How many are, and their characters.
  std::size_t repeated() const { return repeated_; }
  std::size_t repeated_characters() const { return repeated_characters_; }

 private:
  bool find_repeated(bool by_ends);
  void grow_slots(bool by_ends);

  std::vector<Stretch> stretches_;
  std::vector<uint64_t> slots_;  // the upper half of a hash, and a place in stretches_ + 1
  std::size_t repeated_ = 0;
  std::size_t repeated_characters_ = 0;
};

}  // namespace smolfast::filters
