#include "filters/word_source.h"

#include <array>

#include "base/error.h"
#include "filters/characters.h"
#include "text/whitespace_words.h"

namespace smolfast::filters {
namespace {

// For words that come with no sentences of their own: one ends with a terminal mark, and the marks and quotes behind
// it.
std::size_t count_marked_sentences(std::string_view text) {
  const CharacterSet& stops = terminal_punctuation();
  std::size_t sentences = 0;
  bool open = false;
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at < end;) {
    const text::Decoded c = text::decode(at);
    at += c.size;
    if (stops.contains(c.code)) {
      sentences += open;
      open = false;
    } else if (!is_space(c.code) && !symbols().contains(c.code)) {
      open = true;
    }
  }
  sentences += open;
  return sentences == 0 ? 1 : sentences;
}

class UnicodeWords final : public WordSource {
 public:
  void words(std::string_view text, std::vector<text::Word>& words) override {
    text::WordScanner scanner(text);
    while (const std::size_t n = scanner.next(batch_.data(), batch_.size())) {
      words.insert(words.end(), batch_.begin(), batch_.begin() + static_cast<std::ptrdiff_t>(n));
    }
  }
  std::size_t count_sentences(std::string_view text) override { return count_marked_sentences(text); }
  bool has_words_between_spaces() const override { return false; }

 private:
  std::array<text::Word, 1024> batch_;
};

class WhitespaceWords final : public WordSource {
 public:
  void words(std::string_view text, std::vector<text::Word>& words) override {
    text::SpacedPosition position;
    uint32_t open = kNone;
    for (;;) {
      const std::size_t n = text::scan_spaced_words(text, position, bounds_.data(), bounds_.size());
      for (std::size_t i = 0; i < n; ++i) {
        if (open == kNone) {
          open = bounds_[i];
        } else {
          words.push_back({open, bounds_[i]});
          open = kNone;
        }
      }
      if (position.at >= text.size()) break;
    }
  }
  std::size_t count_sentences(std::string_view text) override { return count_marked_sentences(text); }
  bool has_words_between_spaces() const override { return true; }

 private:
  static constexpr uint32_t kNone = 0xFFFFFFFFu;
  std::array<uint32_t, 1024> bounds_;
};

}  // namespace

std::unique_ptr<WordSource> make_word_source(const std::string& kind, const std::string& language) {
  (void)language;
  if (kind == "unicode") return std::make_unique<UnicodeWords>();
  if (kind == "whitespace") return std::make_unique<WhitespaceWords>();
  throw Error("words '" + kind + "' is unknown; use one of: spacy, unicode, whitespace");
}

}  // namespace smolfast::filters
