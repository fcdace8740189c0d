// A document and what was measured of it: each measure once, when a filter first asks, in memory that is used again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "filters/n_grams.h"
#include "filters/range_set.h"
#include "filters/stretches.h"
#include "filters/word_source.h"
#include "text/buffer.h"

namespace smolfast::filters {

class Document {
 public:
  explicit Document(WordSource& source) : source_(source) {}

  // Takes a text, which must outlive its measures.
  void reset(std::string_view text);
  // Says what the text's words are, in a text of their own.
  void give_words(std::string_view text, const std::vector<text::Word>& words);
  // Takes what a filter made of it (Document::draft), if it's another. At most two filters do so.
  void take_draft(bool stripped);
  // Where a filter writes the next text; empty.
  text::Buffer& draft();

  std::string_view text() const { return text_; }
  std::size_t characters();
  // What stands between runs of line feeds; with Stretch::repeated.
  const std::vector<Stretch>& lines();
  // Of the stripped text, what stands between runs of two line feeds or more; with Stretch::repeated.
  const std::vector<Stretch>& paragraphs();
  const text::MeasuredWords& words();
  NGrams& n_grams();
  // No more than there are words; found faster.
  std::size_t least_words();
  std::string_view word(std::size_t i) const {
    const text::Word word = words_[i];
    return word_text_.substr(word.begin, word.end - word.begin);
  }
  WordSource& source() { return source_; }

 private:
  WordSource& source_;
  std::string_view text_;
  std::string_view word_text_;  // what words_ are ranges of
  text::Buffer drafts_[2];
  int drafted_ = 0;
  std::optional<std::size_t> characters_;
  bool has_lines_ = false;
  bool has_paragraphs_ = false;
  bool has_words_ = false;
  bool has_n_grams_ = false;
  std::vector<Stretch> lines_;
  std::vector<Stretch> paragraphs_;
  text::MeasuredWords words_;
  NGrams n_grams_;
  RangeSet seen_;
};

}  // namespace smolfast::filters
