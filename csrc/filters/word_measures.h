// What the filters ask of each word.
#pragma once

#include <string_view>

#include "base/seeded_hash.h"
#include "text/measured_words.h"

namespace smolfast::filters {

text::WordMeasure measure_word(std::string_view word);

inline void append_measured(std::string_view text, text::Word word, text::MeasuredWords& words) {
  const std::string_view bytes = text.substr(word.begin, word.end - word.begin);
  words.append(word, static_cast<uint32_t>(hash_bytes(bytes, draw_hash_seed())), measure_word(bytes));
}

}  // namespace smolfast::filters
