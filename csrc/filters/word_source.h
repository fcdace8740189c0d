// Where a document's words and sentences come from.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "text/measured_words.h"

namespace smolfast::filters {

// One thread's cutter of words.
class WordSource {
 public:
  virtual ~WordSource() = default;
  // Puts the words into `words`, in order, as byte ranges, none empty, with what measure_word says of each. The text is
  // valid UTF-8 of less than 4 GiB.
  virtual void words(std::string_view text, text::MeasuredWords& words) = 0;
  // How many sentences; at least 1, also of an empty text.
  virtual std::size_t count_sentences(std::string_view text) = 0;
  // The same of a stripped line, given those of the text's words that are in it; only if has_words_of_sentences().
  virtual std::size_t count_sentences(std::string_view text, std::span<const text::Word> words) const;
  // Whether sentences are made of these words, and a line has the words that it has in its text.
  virtual bool has_words_of_sentences() const { return false; }
  // Whether every stretch between white space holds a word at least, and words don't depend on their neighbours.
  virtual bool has_words_between_spaces() const = 0;
};

// "spacy" (by the rules of `language`, a code of spaCy's), "unicode" or "whitespace"; "given" for words from elsewhere.
// Throws Error for a language that has no such rules.
std::unique_ptr<WordSource> make_word_source(const std::string& kind, const std::string& language);

}  // namespace smolfast::filters
