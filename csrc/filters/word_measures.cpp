#include "filters/word_measures.h"

#include "filters/characters.h"

namespace smolfast::filters {
namespace {

bool has_letter(std::string_view word) {
  const char* const end = word.data() + word.size();
  for (const char* at = word.data(); at < end;) {
    const text::Decoded c = text::decode(at);
    if ((text::kind(c.code) & text::kLetter) != 0) return true;
    at += c.size;
  }
  return false;
}

}  // namespace

text::WordMeasure measure_word(std::string_view word) {
  text::WordMeasure measure;
  measure.characters = static_cast<uint32_t>(count_characters(word));
  if (static_cast<uint8_t>((word.front() | 0x20) - 'a') < 26) {
    measure.solid = measure.lettered = true;
  } else {
    measure.lettered = has_letter(word);
    measure.solid = !symbols().holds_all(word);
  }
  return measure;
}

}  // namespace smolfast::filters
