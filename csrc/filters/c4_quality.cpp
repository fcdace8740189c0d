// C4's rules for lines (Raffel et al. 2020), with datatrove 0.10's decisions.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "filters/c4_phrases.h"
#include "filters/characters.h"
#include "filters/filter.h"

namespace smolfast::filters {
namespace {

enum Check : std::size_t { kLorem, kCurly, kSentences };

// The bytes of "[12]", "[edit]" or "[citation needed]" at `at`, which holds "[", or 0.
std::size_t citation_size(const char* at, const char* end) {
  const std::string_view left(at, static_cast<std::size_t>(end - at));
  for (const std::string_view citation : {"[edit]", "[citation needed]"}) {
    if (left.starts_with(citation)) return citation.size();
  }
  const char* last = at + 1;
  while (last < end) {
    if (*last == ']') return static_cast<std::size_t>(last + 1 - at);
    const text::Decoded c = text::decode(last);
    if ((text::kind(c.code) & text::kDecimalDigit) == 0) break;
    last += c.size;
  }
  return 0;
}

// Appends the line without its citations; says false and appends nothing where there are none.
bool remove_citations(std::string_view line, text::Buffer& out) {
  const char* at = line.data();
  const char* copied = at;
  const char* const end = at + line.size();
  while (at < end) {
    at = static_cast<const char*>(std::memchr(at, '[', static_cast<std::size_t>(end - at)));
    if (at == nullptr) break;
    const std::size_t size = citation_size(at, end);
    if (size == 0) {
      ++at;
      continue;
    }
    out.append(copied, static_cast<std::size_t>(at - copied));
    at += size;
    copied = at;
  }
  if (copied == line.data()) return false;
  out.append(copied, static_cast<std::size_t>(end - copied));
  return true;
}

bool ends_sentence(std::string_view line) {
  constexpr std::string_view kEnds = ".?!\"'";
  return !line.empty() && kEnds.find(line.back()) != std::string_view::npos && !line.ends_with("...");
}

class C4Quality final : public Filter {
 public:
  explicit C4Quality(const C4QualityRules& rules)
      : rules_(rules),
        least_words_(static_cast<std::size_t>(std::clamp(std::ceil(rules.min_words_per_line), 1.0, 64.0))) {}

  std::vector<std::string> reasons() const override { return {"lorem_ipsum", "curly_bracket", "too_few_sentences"}; }
  std::vector<std::string> signals() const override { return {"lorem_ipsum", "curly_bracket", "sentences"}; }
  bool rewrites() const override { return true; }

  void judge(Document& document, Verdict& verdict) override {
    const std::string_view text = document.text();
    text::Buffer& draft = document.draft();
    const bool bracketed = rules_.remove_citations && document.survey().brackets;
    // What the text doesn't hold, no line does that loses no citation.
    const unsigned phrases = looked_for() & find_phrases(text);
    const bool curly = rules_.filter_curly_bracket && document.survey().brackets;
    std::size_t sentences = 0;
    bool first = true;
    bool dropped = false;
    document.each_line([&](std::string_view whole) {
      std::string_view line = strip(whole);
      const Width width = measure(line);
      if (width.too_long) return true;
      bool cut = false;
      if (bracketed) {
        uncited_.clear();
        cut = remove_citations(line, uncited_);
        if (cut) line = uncited_.view();
      }
      if (rules_.filter_no_terminal_punct && !ends_sentence(line)) return true;
      if (width.too_few) return true;
      const unsigned held = phrases != 0 || cut ? looked_for() & find_phrases(line) : 0;
      const bool lorem = (held & kLoremIpsum) != 0;
      if (!lorem && (held & kJavascript) != 0) return true;
      if (lorem || (curly && line.find('{') != std::string_view::npos)) {
        drop(verdict, lorem ? kLorem : kCurly);
        dropped = true;
        return false;
      }
      if ((held & kPolicy) != 0) return true;
      if (verdict.wants_signals() || static_cast<double>(sentences) < rules_.min_num_sentences) {
        sentences += document.count_sentences(line);
      }
      if (!first) draft.append("\n");
      first = false;
      draft.append(line);
      return true;
    });
    if (dropped) return;
    verdict.record(kLorem, 0);
    verdict.record(kCurly, 0);
    verdict.record(kSentences, static_cast<double>(sentences));
    if (rules_.min_num_sentences != -1 && static_cast<double>(sentences) < rules_.min_num_sentences) {
      verdict.fail(kSentences);
    }
    if (!verdict.over()) document.take_draft(true);
  }

 private:
  struct Width {
    bool too_long;  // a word is
    bool too_few;   // words are
  };

  unsigned looked_for() const {
    return (rules_.filter_lorem_ipsum ? kLoremIpsum : 0) | (rules_.filter_javascript ? kJavascript : 0) |
           (rules_.filter_policy ? kPolicy : 0);
  }

  static void drop(Verdict& verdict, Check check) {
    verdict.record(kLorem, check == kLorem);
    verdict.record(kCurly, check == kCurly);
    verdict.fail(check);
    verdict.end();
  }

  // A stripped line's words, as str.split cuts them, no further than needed.
  Width measure(std::string_view line) const {
    const bool any_length = rules_.max_word_length == -1 || static_cast<double>(line.size()) <= rules_.max_word_length;
    if (any_length && begins_words(line, least_words_)) {
      return {false, false};
    }
    double words = 0;
    double length = 0;  // of the word so far, in characters
    const char* const end = line.data() + line.size();
    for (const char* at = line.data(); at < end;) {
      const text::Decoded c = text::decode(at);
      at += c.size;
      if (is_space(c.code)) {
        length = 0;
        continue;
      }
      if (length == 0) {
        ++words;
        if (any_length && words >= rules_.min_words_per_line) break;
      }
      ++length;
      if (!any_length && length > rules_.max_word_length) return {true, false};
    }
    return {false, words < rules_.min_words_per_line};
  }

  const C4QualityRules rules_;
  const std::size_t least_words_;  // of a line; one at least, and none has 64 at a glance
  text::Buffer uncited_;
};

class C4Paragraphs final : public Filter {
 public:
  explicit C4Paragraphs(const C4ParagraphsRules& rules) : rules_(rules) {}

  std::vector<std::string> reasons() const override { return {"< 3 paragraphs"}; }
  std::vector<std::string> signals() const override { return {"third_longest_line"}; }

  void judge(Document& document, Verdict& verdict) override {
    std::size_t longest[3] = {0, 0, 0};
    for (const Stretch& line : document.lines().all()) {
      std::size_t length = line.characters;
      for (std::size_t& place : longest) {
        if (length > place) std::swap(length, place);
      }
    }
    const auto third = static_cast<double>(longest[2]);
    verdict.record(0, third);
    if (third < rules_.min_paragraph_len) verdict.fail(0);
  }

 private:
  const C4ParagraphsRules rules_;
};

}  // namespace

std::unique_ptr<Filter> make_c4_quality(const C4QualityRules& rules) {
  return std::make_unique<C4Quality>(rules);
}

std::unique_ptr<Filter> make_c4_paragraphs(const C4ParagraphsRules& rules) {
  return std::make_unique<C4Paragraphs>(rules);
}

}  // namespace smolfast::filters
