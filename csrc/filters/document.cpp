#include "filters/document.h"

#include "filters/characters.h"
#include "filters/word_measures.h"

namespace smolfast::filters {

void Document::reset(std::string_view text) {
  text_ = text;
  word_text_ = text;
  characters_.reset();
  has_lines_ = has_paragraphs_ = has_words_ = has_n_grams_ = false;
}

void Document::give_words(std::string_view text, const std::vector<text::Word>& words) {
  word_text_ = text;
  words_.clear();
  for (const text::Word word : words) append_measured(text, word, words_);
  has_words_ = true;
}

text::Buffer& Document::draft() {
  text::Buffer& draft = drafts_[drafted_];
  draft.clear();
  draft.room(0);  // a pointer even to no bytes
  return draft;
}

void Document::take_draft(bool stripped) {
  const std::string_view whole = drafts_[drafted_].view();
  const std::string_view draft = stripped ? strip(whole) : whole;
  if (draft == text_) return;
  drafted_ ^= 1;
  reset(draft);
}

std::size_t Document::characters() {
  if (!characters_) characters_ = count_characters(text_);
  return *characters_;
}

const std::vector<Stretch>& Document::lines() {
  if (!has_lines_) {
    split_at_line_feeds(text_, characters() == text_.size(), 1, lines_);
    find_repeated(lines_, seen_);
    has_lines_ = true;
  }
  return lines_;
}

const std::vector<Stretch>& Document::paragraphs() {
  if (!has_paragraphs_) {
    split_at_line_feeds(strip(text_), characters() == text_.size(), 2, paragraphs_);
    find_repeated(paragraphs_, seen_);
    has_paragraphs_ = true;
  }
  return paragraphs_;
}

const text::MeasuredWords& Document::words() {
  if (!has_words_) source_.words(text_, words_);
  has_words_ = true;
  return words_;
}

std::size_t Document::least_words() {
  if (has_words_) return words_.size();
  if (!source_.has_words_between_spaces()) return 0;
  return count_word_begins(text_);
}

NGrams& Document::n_grams() {
  if (!has_n_grams_) {
    words();
    n_grams_.reset(word_text_, words_);
    has_n_grams_ = true;
  }
  return n_grams_;
}

}  // namespace smolfast::filters
