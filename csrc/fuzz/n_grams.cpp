// Repeated n-grams: the numbers of plain counting, and their side of a limit. The first byte says how words are
// cut, so that they may hold spaces, and the second the sizes.
#include "filters/n_grams.h"

#include <map>
#include <set>
#include <string>
#include <vector>

#include "filters/characters.h"
#include "filters/word_measures.h"
#include "fuzz/text_fuzz.h"

namespace {

using namespace smolfast;

std::vector<text::Word> cut(std::string_view text, char separator) {
  std::vector<text::Word> words;
  uint32_t begin = 0;
  for (uint32_t at = 0; at <= text.size(); ++at) {
    if (at < text.size() && text[at] != separator) continue;
    if (at > begin) words.push_back({begin, at});
    begin = at + 1;
  }
  return words;
}

std::string join(std::string_view text, const std::vector<text::Word>& words, std::size_t first, std::size_t n,
                 const char* between) {
  std::string joined;
  for (std::size_t i = first; i < first + n; ++i) {
    if (i != first) joined += between;
    joined += text.substr(words[i].begin, words[i].end - words[i].begin);
  }
  return joined;
}

std::size_t plain_top(std::string_view text, const std::vector<text::Word>& words, std::size_t n) {
  std::map<std::string, std::size_t> counts;
  std::size_t most = 0;
  for (std::size_t i = 0; i + n <= words.size(); ++i) most = std::max(most, ++counts[join(text, words, i, n, " ")]);
  for (std::size_t i = 0; i + n <= words.size(); ++i) {
    const std::string gram = join(text, words, i, n, " ");
    if (counts[gram] == most) return filters::count_characters(gram) * most;
  }
  return 0;
}

std::size_t plain_duplicated(std::string_view text, const std::vector<text::Word>& words, std::size_t n) {
  std::set<std::string> seen;
  std::size_t characters = 0;
  for (std::size_t i = 0; i + n <= words.size();) {
    const std::string gram = join(text, words, i, n, "");
    if (seen.insert(gram).second) {
      ++i;
    } else {
      characters += filters::count_characters(gram);
      i += n;
    }
  }
  return characters;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const char separator = "\n \0"[data[0] % 3];
  const bool descending = (data[1] & 1) != 0;
  const std::size_t step = 1 + (data[1] >> 1) % 5;
  const std::string repaired = fuzz::repaired(data + 2, size - 2);
  const std::vector<char> exact(repaired.begin(), repaired.end());  // no byte of room around it, for AddressSanitizer
  const std::string_view text(exact.data(), exact.size());
  const std::vector<text::Word> words = cut(text, separator);
  static filters::NGrams grams;
  text::MeasuredWords measured;
  for (const text::Word word : words) filters::append_measured(text, word, measured);
  grams.reset(text, measured);
  std::vector<std::size_t> sizes;
  for (std::size_t n = 1; n <= 12; n += step) sizes.insert(descending ? sizes.begin() : sizes.end(), n);
  for (const std::size_t n : sizes) {
    const std::size_t top = plain_top(text, words, n);
    for (const std::size_t most : {std::size_t{0}, top / 2, top - (top != 0), top, top + 1}) {
      fuzz::check(grams.top_exceeds(n, most) == (top > most), "the top n-gram against a limit");
    }
    fuzz::check(grams.top(n) == top, "the top n-gram");
    const std::size_t duplicated = plain_duplicated(text, words, n);
    for (const std::size_t most :
         {std::size_t{0}, duplicated / 2, duplicated - (duplicated != 0), duplicated, duplicated + 1}) {
      fuzz::check(grams.duplicated_exceeds(n, most) == (duplicated > most), "duplicate n-grams against a limit");
    }
    fuzz::check(grams.duplicated(n) == duplicated, "duplicate n-grams");
  }
  return 0;
}
