#include "filters/document.h"

#include <algorithm>
#include <functional>
#include <span>

#include "filters/characters.h"
#include "filters/word_measures.h"

namespace smolfast::filters {

void Document::reset(std::string_view text) {
  text_ = text;
  word_text_ = text;
  has_survey_ = has_lines_ = has_paragraphs_ = has_words_ = has_n_grams_ = false;
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

const Survey& Document::survey() {
  if (!has_survey_) survey_text(text_, survey_);
  has_survey_ = true;
  return survey_;
}

const Stretches& Document::lines() {
  if (!has_lines_) lines_.split(text_, text_, survey(), 1);
  has_lines_ = true;
  return lines_;
}

const Stretches& Document::paragraphs() {
  if (!has_paragraphs_) paragraphs_.split(strip(text_), text_, survey(), 2);
  has_paragraphs_ = true;
  return paragraphs_;
}

bool Document::has_distinct_paragraphs() {
  if (!survey().feed_runs) return true;
  // A paragraph that equals another is of lines that do, unless what is stripped off the text cuts one of them.
  const std::string_view stripped = strip(text_);
  const char* const end = stripped.data() + stripped.size();
  const bool begins = stripped.data() == text_.data() || stripped.data()[-1] == '\n';
  const bool ends = end == text_.data() + text_.size() || *end == '\n';
  return begins && ends && lines().repeated() == 0;
}

const text::MeasuredWords& Document::words() {
  if (!has_words_) source_.words(text_, words_);
  has_words_ = true;
  return words_;
}

std::size_t Document::count_sentences(std::string_view line) {
  const bool within = !std::less<>()(line.data(), text_.data()) &&
                      !std::less<>()(text_.data() + text_.size(), line.data() + line.size());
  if (!has_words_ || !within || !source_.has_words_of_sentences()) return source_.count_sentences(line);
  const auto begin = static_cast<std::size_t>(line.data() - text_.data());
  const auto before = [](const text::Word& word, std::size_t at) { return word.begin < at; };
  const std::span<const text::Word> words = words_.words();
  const auto first = std::lower_bound(words.begin(), words.end(), begin, before);
  const auto last = std::lower_bound(first, words.end(), begin + line.size(), before);
  return source_.count_sentences(text_, {first, last});
}

std::size_t Document::least_words() {
  if (has_words_) return words_.size();
  if (!source_.has_words_between_spaces()) return 0;
  return survey().word_begins;
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
