// What the filters ask of each word.
#pragma once

#include <string_view>

#include "text/measured_words.h"

namespace smolfast::filters {

text::WordMeasure measure_word(std::string_view word);

inline void append_measured(std::string_view text, text::Word word, text::MeasuredWords& words) {
  words.append(word, measure_word(text.substr(word.begin, word.end - word.begin)));
}

}  // namespace smolfast::filters
