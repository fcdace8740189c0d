// Sets of characters that the filters look at, and Python's idea of white space and lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/tables.h"
#include "text/utf8.h"

namespace smolfast::filters {

// A set of code points, a bit for each up to the last.
class CharacterSet {
 public:
  struct Range {
    uint32_t first;
    uint32_t last;
  };

  CharacterSet() = default;
  explicit CharacterSet(const std::vector<Range>& ranges);
  // The characters of a UTF-8 string.
  explicit CharacterSet(std::string_view characters);

  bool contains(uint32_t code) const {
    return code >> 6 < bits_.size() && ((bits_[code >> 6] >> (code & 63)) & 1) != 0;
  }
  // Whether all characters of the text are in the set.
  bool holds_all(std::string_view text) const;

 private:
  void add(uint32_t first, uint32_t last);

  std::vector<uint64_t> bits_;
};

// datatrove's TERMINAL_PUNCTUATION: what ends a sentence in some script. No quotes and no ellipsis among them.
const CharacterSet& terminal_punctuation();
// datatrove's PUNCTUATION_SET: those, ASCII's punctuation, control characters and some of the wider scripts' marks.
const CharacterSet& symbols();

// Python's str.isspace for one character.
inline bool is_space(uint32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 9 && code <= 13) || (code >= 0x1C && code <= 0x1F);
  return (text::kind(code) & text::kSpace) != 0;
}

// A character of ASCII that is neither white space nor a control.
inline bool is_printable(char c) {
  return static_cast<uint8_t>(c - '!') <= '~' - '!';
}

// Python's str.lstrip, str.rstrip and str.strip.
std::string_view strip_spaces_left(std::string_view text);
std::string_view strip_spaces_right(std::string_view text);
inline std::string_view strip_left(std::string_view text) {
  return !text.empty() && is_printable(text.front()) ? text : strip_spaces_left(text);
}
inline std::string_view strip_right(std::string_view text) {
  return !text.empty() && is_printable(text.back()) ? text : strip_spaces_right(text);
}
inline std::string_view strip(std::string_view text) {
  return strip_right(strip_left(text));
}

// The number of code points.
std::size_t count_characters(std::string_view text);

// Whether words begin in so many places of the text's first 32 bytes: at printable ASCII that follows a space or begins
// the text. False if that can't be said at once.
bool begins_words(std::string_view text, std::size_t least);

// The last code point of a text that isn't empty.
inline uint32_t last_character(std::string_view text) {
  return text::decode(text::previous(text.data() + text.size())).code;
}

// Python's str.splitlines: body(line) for each, without what ended it.
class LineSplitter {
 public:
  explicit LineSplitter(std::string_view text) : left_(text) {}
  bool next(std::string_view& line);

 private:
  std::string_view left_;
};

}  // namespace smolfast::filters
