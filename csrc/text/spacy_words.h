// The tokens of spaCy's rule-based tokenizers, as datatrove 0.10.1 takes them: those of `spacy.blank(language)`,
// stripped as Python's str.strip does, empty ones dropped. Rules and exceptions are spaCy's (MIT licence; see
// spacy_tables.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "text/measured_words.h"
#include "text/word.h"

namespace smolfast::text {

// One language's rules.
struct SpacyRules;
// By spaCy's code of the language, "xx" for any; nullptr if there is none. Safe to call from any thread; what it gives
// is never freed.
const SpacyRules* find_spacy_rules(std::string_view language);
std::vector<std::string_view> spacy_languages();

// Finds words; memory is reused, so each thread has one. Time is linear in the text, whatever it holds. Every
// implementation (base/cpu.h) gives the same words, and none depends on the texts before.
class SpacyWords {
 public:
  explicit SpacyWords(const SpacyRules& rules, MeasureWord measure = measure_nothing);
  ~SpacyWords();
  SpacyWords(SpacyWords&&) noexcept;
  SpacyWords& operator=(SpacyWords&&) noexcept;

  // Appends the tokens of `text`, valid UTF-8 of less than 4 GiB, as byte ranges in order.
  void words(std::string_view text, std::vector<Word>& out);
  // The same with what is measured of each, in place of what `out` held.
  void words(std::string_view text, MeasuredWords& out);
  // How many sentences spaCy's sentencizer makes of the text, empty ones not counted.
  std::size_t count_sentences(std::string_view text);
  // The same, given what words() said of the text.
  std::size_t count_sentences(std::string_view text, std::span<const Word> words) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace smolfast::text
