// A document and what was measured of it: each measure once, when a filter first asks, in memory that is used again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "filters/characters.h"
#include "filters/n_grams.h"
#include "filters/stretches.h"
#include "filters/survey.h"
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
  const Survey& survey();
  std::size_t characters() { return survey().characters; }
  // What stands between runs of line feeds.
  const Stretches& lines();
  // Of the stripped text, what stands between runs of two line feeds or more.
  const Stretches& paragraphs();
  // Whether it is known by the lines that no paragraph is repeated.
  bool has_distinct_paragraphs();
  // Python's str.splitlines: body(line) for each, without what ended it, until it says false.
  template <typename Body>
  void each_line(Body&& body);
  const text::MeasuredWords& words();
  NGrams& n_grams();
  // How many sentences a stripped line has that is a part of the text, or another one.
  std::size_t count_sentences(std::string_view line);
  // No more than there are words; found faster.
  std::size_t least_words();
  std::string_view word(std::size_t i) const {
    const text::Word word = words_[i];
    return word_text_.substr(word.begin, word.end - word.begin);
  }

 private:
  WordSource& source_;
  std::string_view text_;
  std::string_view word_text_;  // what words_ are ranges of
  text::Buffer drafts_[2];
  int drafted_ = 0;
  bool has_survey_ = false;
  bool has_lines_ = false;
  bool has_paragraphs_ = false;
  bool has_words_ = false;
  bool has_n_grams_ = false;
  Survey survey_;
  Stretches lines_;
  Stretches paragraphs_;
  text::MeasuredWords words_;
  NGrams n_grams_;
};

template <typename Body>
void Document::each_line(Body&& body) {
  std::string_view line;
  if (survey().other_breaks) {
    LineSplitter splitter(text_);
    while (splitter.next(line) && body(line)) {
    }
    return;
  }
  std::size_t begin = 0;
  for (const LineFeed feed : survey_.line_feeds()) {
    if (!body(text_.substr(begin, feed.at - begin))) return;
    begin = feed.at + 1;
  }
  if (begin < text_.size()) body(text_.substr(begin));
}

}  // namespace smolfast::filters
