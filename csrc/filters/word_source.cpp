#include "filters/word_source.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "filters/characters.h"
#include "filters/word_measures.h"
#include "text/buffer.h"
#include "text/spacy_rules.h"
#include "text/spacy_words.h"
#include "text/unicode_words.h"
#include "text/whitespace_words.h"

namespace smolfast::filters {
namespace {

// spaCy's words and sentences.
class SpacySource final : public WordSource {
 public:
  explicit SpacySource(const text::SpacyRules& rules) : spacy_(rules, measure_word) {
    // An exception that holds a space may make one word of several; one that is nothing else makes none.
    spaced_ = std::any_of(rules.exceptions.begin(), rules.exceptions.end(), [](const auto& exception) {
      const std::string_view chunk = exception.first;
      return chunk.find(' ') != std::string_view::npos && chunk.find_first_not_of(' ') != std::string_view::npos;
    });
  }

  void words(std::string_view text, text::MeasuredWords& words) override { spacy_.words(text, words); }
  std::size_t count_sentences(std::string_view text) override {
    const std::size_t sentences = spacy_.count_sentences(text);
    return std::max<std::size_t>(sentences + has_blank_sentence(text, sentences), 1);
  }
  // No rule reaches over the end of a line.
  std::size_t count_sentences(std::string_view text, std::span<const text::Word> words) const override {
    return std::max<std::size_t>(spacy_.count_sentences(text, words), 1);
  }
  bool has_words_of_sentences() const override { return true; }
  bool has_words_between_spaces() const override { return !spaced_; }

 private:
  // White space at the end, but for one space, is a token, and after a sentence's end a sentence: so it would go on
  // with another word there.
  bool has_blank_sentence(std::string_view text, std::size_t sentences) {
    const std::string_view stripped = strip_right(text);
    const std::string_view blank = text.substr(stripped.size());
    if (stripped.empty() || blank.empty() || blank == " ") return false;
    longer_.clear();
    longer_.append(stripped);
    longer_.append("  a");
    return spacy_.count_sentences(longer_.view()) > sentences;
  }

  text::SpacyWords spacy_;
  text::Buffer longer_;
  bool spaced_;
};

const text::SpacyRules& find_rules(const std::string& language) {
  const text::SpacyRules* const rules = text::find_spacy_rules(language);
  if (rules == nullptr) {
    throw Error("language '" + language + "' has no rules of spaCy's here; use words=\"unicode\"");
  }
  return *rules;
}

// Words that come with no sentences of their own take those of spaCy's rules for any language.
class OtherWords : public WordSource {
 public:
  std::size_t count_sentences(std::string_view text) override { return any_.count_sentences(text); }

 private:
  SpacySource any_{find_rules("xx")};
};

class UnicodeWords final : public OtherWords {
 public:
  void words(std::string_view text, text::MeasuredWords& words) override {
    words.clear();
    text::WordScanner scanner(text);
    while (const std::size_t n = scanner.next(batch_.data(), batch_.size())) {
      for (std::size_t i = 0; i < n; ++i) append_measured(text, batch_[i], words);
    }
  }
  bool has_words_between_spaces() const override { return false; }

 private:
  std::array<text::Word, 1024> batch_;
};

class WhitespaceWords final : public OtherWords {
 public:
  void words(std::string_view text, text::MeasuredWords& words) override {
    words.clear();
    text::SpacedPosition position;
    uint32_t open = kNone;
    for (;;) {
      const std::size_t n = text::scan_spaced_words(text, position, bounds_.data(), bounds_.size());
      for (std::size_t i = 0; i < n; ++i) {
        if (open == kNone) {
          open = bounds_[i];
        } else {
          append_measured(text, {open, bounds_[i]}, words);
          open = kNone;
        }
      }
      if (position.at >= text.size()) return;
    }
  }
  bool has_words_between_spaces() const override { return true; }

 private:
  static constexpr uint32_t kNone = 0xFFFFFFFFu;
  std::array<uint32_t, 1024> bounds_;
};

// For words that Judge::judge is given.
class GivenWords final : public WordSource {
 public:
  void words(std::string_view, text::MeasuredWords&) override {
    throw Error("the words of a rewritten text aren't given; put the filter that rewrites last");
  }
  std::size_t count_sentences(std::string_view) override {
    throw Error("sentences aren't given with words; set min_num_sentences to -1");
  }
  bool has_words_between_spaces() const override { return false; }
};

}  // namespace

std::size_t WordSource::count_sentences(std::string_view, std::span<const text::Word>) const {
  throw Error("sentences aren't made of these words");
}

std::unique_ptr<WordSource> make_word_source(const std::string& kind, const std::string& language) {
  if (kind == "spacy") return std::make_unique<SpacySource>(find_rules(language));
  if (kind == "given") return std::make_unique<GivenWords>();
  if (kind == "unicode") return std::make_unique<UnicodeWords>();
  if (kind == "whitespace") return std::make_unique<WhitespaceWords>();
  throw Error("words '" + kind + "' is unknown; use one of: spacy, unicode, whitespace");
}

}  // namespace smolfast::filters
