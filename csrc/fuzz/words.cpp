// Words: the same under every implementation and for every capacity; in order, on character boundaries, and nothing
// that is a word by itself left out.
#include <string>
#include <vector>

#include "fuzz/text_fuzz.h"
#include "text/tables.h"
#include "text/unicode_words.h"

namespace {

using namespace smolfast;

std::vector<uint32_t> words(const std::vector<char>& input, std::size_t capacity) {
  text::WordScanner scanner({input.data(), input.size()});
  std::vector<text::Word> batch(capacity);
  std::vector<uint32_t> edges;
  while (const std::size_t n = scanner.next(batch.data(), capacity)) {
    fuzz::check(n <= capacity, "more words than there is room for");
    for (std::size_t i = 0; i < n; ++i) {
      edges.push_back(batch[i].begin);
      edges.push_back(batch[i].end);
    }
  }
  return edges;
}

// What always makes its segment a word.
bool is_wordlike(uint32_t code) {
  using enum text::WordBreak;
  const text::WordBreak k = text::word_break(code);
  return k == kALetter || k == kHebrewLetter || k == kNumeric || k == kSingle;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  const std::string repaired = fuzz::repaired(data, size);
  const std::vector<char> input(repaired.begin(), repaired.end());
  const std::vector<uint32_t> edges = fuzz::under_every_implementation([&] { return words(input, 64); });
  fuzz::check(fuzz::under_every_implementation([&] { return words(input, 1000); }) == edges, "another capacity");
  std::vector<bool> inside(input.size() + 1);
  uint32_t last = 0;
  for (std::size_t i = 0; i < edges.size(); i += 2) {
    fuzz::check(last <= edges[i] && edges[i] < edges[i + 1] && edges[i + 1] <= input.size(), "order");
    last = edges[i + 1];
    fuzz::check(!text::is_continuation(input[edges[i]]), "a word begins inside a character");
    fuzz::check(last == input.size() || !text::is_continuation(input[last]), "a word ends inside a character");
    for (uint32_t at = edges[i]; at < last; ++at) inside[at] = true;
  }
  for (std::size_t at = 0; at < input.size();) {
    const text::Decoded c = text::decode(input.data() + at);
    fuzz::check(!is_wordlike(c.code) || inside[at], "a letter or number in no word");
    at += c.size;
  }
  return 0;
}
