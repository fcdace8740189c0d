// spaCy's words and sentences: the same under every implementation, whatever was cut before, and wherever the text
// stands; in order, on character boundaries, without space around them, and with nothing but space between.
#include "text/spacy_words.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/seeded_hash.h"
#include "filters/word_measures.h"
#include "fuzz/text_fuzz.h"
#include "text/spaces.h"

namespace {

using namespace smolfast;

std::vector<uint32_t> edges(text::SpacyWords& finder, std::string_view input) {
  std::vector<text::Word> words = {{7, 9}};
  finder.words(input, words);
  fuzz::check(words[0].begin == 7 && words[0].end == 9, "what was there is lost");
  std::vector<uint32_t> out;
  for (const text::Word& word : words) {
    out.push_back(word.begin);
    out.push_back(word.end);
  }
  out.erase(out.begin(), out.begin() + 2);
  return out;
}

bool is_space_at(const std::vector<char>& input, std::size_t at) {
  const auto byte = static_cast<unsigned char>(input[at]);
  if (byte < 0x80) return (byte >= 9 && byte <= 13) || (byte >= 28 && byte <= 32);
  return text::space_size(input.data() + at, input.data() + input.size()) != 0;
}

// What was measured of the words, found in caches or not, is what measuring them gives.
void check_measures(text::SpacyWords& finder, std::string_view input) {
  text::MeasuredWords measured;
  finder.words(input, measured);
  text::MeasuredWords::Sums sums;
  for (std::size_t i = 0; i < measured.size(); ++i) {
    const std::string_view word = input.substr(measured[i].begin, measured[i].end - measured[i].begin);
    fuzz::check(measured.hashes()[i] == static_cast<uint32_t>(hash_bytes(word, draw_hash_seed())), "a word's hash");
    sums.add(filters::measure_word(word));
  }
  fuzz::check(sums.solid == measured.sums.solid && sums.solid_characters == measured.sums.solid_characters &&
                  sums.lettered == measured.sums.lettered,
              "sums over the words");
}

// For each language one that goes from text to text.
text::SpacyWords& reused(std::size_t language) {
  static std::vector<std::unique_ptr<text::SpacyWords>> all(text::spacy_languages().size());
  auto& found = all[language];
  const auto names = text::spacy_languages();
  if (!found)
    found = std::make_unique<text::SpacyWords>(*text::find_spacy_rules(names[language]), filters::measure_word);
  return *found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t language = data[0] % text::spacy_languages().size();
  const std::string repaired = fuzz::repaired(data + 1, size - 1);
  const std::vector<char> input(repaired.begin(), repaired.end());
  const std::string_view view(input.data(), input.size());
  text::SpacyWords& finder = reused(language);
  const std::vector<uint32_t> found = fuzz::under_every_implementation([&] { return edges(finder, view); });
  fuzz::check(edges(finder, view) == found, "the cache changes the words");
  // With a block of other text before, which a line's end keeps apart.
  for (const std::size_t shift : {std::size_t{1}, std::size_t{63}}) {
    const std::string moved = std::string(shift, '\n') + repaired;
    std::vector<uint32_t> again = edges(finder, moved);
    for (uint32_t& edge : again) edge -= static_cast<uint32_t>(shift);
    fuzz::check(again == found, "the place changes the words");
  }
  check_measures(finder, view);
  std::size_t at = 0;
  for (std::size_t i = 0; i < found.size(); i += 2) {
    fuzz::check(at <= found[i] && found[i] < found[i + 1] && found[i + 1] <= input.size(), "order");
    fuzz::check(!text::is_continuation(input[found[i]]), "a word begins inside a character");
    fuzz::check(found[i + 1] == input.size() || !text::is_continuation(input[found[i + 1]]), "or ends inside one");
    while (at < found[i]) {
      fuzz::check(is_space_at(input, at), "something is left out");
      at += text::decode(input.data() + at).size;
    }
    fuzz::check(!is_space_at(input, at), "a word begins with space");
    at = found[i + 1];
  }
  while (at < input.size()) {
    fuzz::check(is_space_at(input, at), "something is left out at the end");
    at += text::decode(input.data() + at).size;
  }
  const std::size_t sentences = finder.count_sentences(view);
  fuzz::check(sentences <= found.size() / 2 && (sentences == 0) == found.empty(), "sentences");
  return 0;
}
