// UTF-8 checking and repair against a plain reading of Unicode's table 3-7.
#include <string>

#include "fuzz/text_fuzz.h"

namespace {

struct Range {
  unsigned low, high;
};
struct Row {
  Range bytes[4];
  int size;
};
constexpr Row kWellFormed[] = {
    {{{0x00, 0x7F}}, 1},
    {{{0xC2, 0xDF}, {0x80, 0xBF}}, 2},
    {{{0xE0, 0xE0}, {0xA0, 0xBF}, {0x80, 0xBF}}, 3},
    {{{0xE1, 0xEC}, {0x80, 0xBF}, {0x80, 0xBF}}, 3},
    {{{0xED, 0xED}, {0x80, 0x9F}, {0x80, 0xBF}}, 3},
    {{{0xEE, 0xEF}, {0x80, 0xBF}, {0x80, 0xBF}}, 3},
    {{{0xF0, 0xF0}, {0x90, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}, 4},
    {{{0xF1, 0xF3}, {0x80, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}, 4},
    {{{0xF4, 0xF4}, {0x80, 0x8F}, {0x80, 0xBF}, {0x80, 0xBF}}, 4},
};

// The longest start of a well-formed character at `at`, and whether all of the character is there.
int longest(std::string_view text, std::size_t at, bool& whole) {
  int best = 0;
  whole = false;
  for (const Row& row : kWellFormed) {
    int n = 0;
    while (n < row.size && at + static_cast<std::size_t>(n) < text.size()) {
      const unsigned byte = static_cast<unsigned char>(text[at + static_cast<std::size_t>(n)]);
      if (byte < row.bytes[n].low || byte > row.bytes[n].high) break;
      ++n;
    }
    if (n > best) best = n;
    whole = whole || n == row.size;
  }
  return best;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace smolfast;
  const std::string_view text = fuzz::as_text(data, size);
  std::string expected;
  std::size_t first_bad = size;
  for (std::size_t at = 0; at < size;) {
    bool whole = false;
    const int n = longest(text, at, whole);
    if (whole) {
      expected += text.substr(at, static_cast<std::size_t>(n));
    } else {
      if (first_bad == size) first_bad = at;
      expected += "\xEF\xBF\xBD";
    }
    at += static_cast<std::size_t>(n > 0 ? n : 1);
  }
  const bool valid = fuzz::under_every_implementation([&] { return text::is_valid_utf8(text); });
  fuzz::check(valid == (first_bad == size), "validity");
  fuzz::check(text::first_invalid_byte(text) == first_bad, "the first bad byte");
  fuzz::check(fuzz::repaired(data, size) == expected, "the repaired text");
  return 0;
}
