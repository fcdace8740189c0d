// Filters by rules that the first bytes choose: the same verdict, text and numbers under every implementation, and the
// same verdict and text whether a document may leave early or not.
#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "filters/judge.h"
#include "fuzz/text_fuzz.h"

namespace {

using namespace smolfast;

// Limits and switches, a byte each.
class Choices {
 public:
  Choices(const uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }
  double limit() { return byte() / 64.0; }
  double count() { return byte() % 8 - 1; }
  bool flag() { return (byte() & 1) != 0; }
  std::size_t used() const { return at_; }

 private:
  const uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

filters::FilterRules choose(Choices& choices) {
  switch (choices.byte() % 7) {
    case 0:
      return filters::GopherRepetitionRules{.dup_para_frac = choices.limit(),
                                            .dup_para_char_frac = choices.limit(),
                                            .dup_line_frac = choices.limit(),
                                            .dup_line_char_frac = choices.limit(),
                                            .top_n_grams = {{2, choices.limit()}, {1, choices.limit()}},
                                            .dup_n_grams = {{3, choices.limit()}, {5, choices.limit()}}};
    case 1:
      return filters::GopherQualityRules{.min_doc_words = choices.count(),
                                         .max_doc_words = choices.limit() * 64,
                                         .min_avg_word_length = choices.count(),
                                         .max_avg_word_length = choices.limit(),
                                         .max_symbol_word_ratio = choices.limit(),
                                         .max_bullet_lines_ratio = choices.limit(),
                                         .max_ellipsis_lines_ratio = choices.limit(),
                                         .max_non_alpha_words_ratio = choices.limit(),
                                         .min_stop_words = choices.count(),
                                         .stop_words = {"a", "the", "\xC3\xA9"}};
    case 2:
      return filters::C4QualityRules{.remove_citations = choices.flag(),
                                     .filter_no_terminal_punct = choices.flag(),
                                     .min_num_sentences = choices.count(),
                                     .min_words_per_line = choices.count(),
                                     .max_word_length = choices.count(),
                                     .filter_lorem_ipsum = choices.flag(),
                                     .filter_javascript = choices.flag(),
                                     .filter_curly_bracket = choices.flag(),
                                     .filter_policy = choices.flag()};
    case 3:
      return filters::C4ParagraphsRules{.min_paragraph_len = 1 + choices.limit()};
    case 4:
      return filters::C4BadWordsRules{.words = {"a", "bad", "\xC3\xA9"}, .flanked = choices.flag()};
    case 5:
      return filters::FineWebQualityRules{.line_punct_thr = choices.limit(),
                                          .line_punct_exclude_zero = choices.flag(),
                                          .stop_chars = std::nullopt,
                                          .short_line_thr = choices.limit(),
                                          .short_line_length = choices.count(),
                                          .char_duplicates_ratio = choices.limit(),
                                          .new_line_ratio = choices.limit()};
    default:
      return filters::SymbolLinesRules{.symbols_to_remove = std::nullopt, .replace_char = choices.flag() ? "\n" : ""};
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  Choices choices(data, size);
  filters::Rules rules;
  const char* const kinds[] = {"spacy", "unicode", "whitespace"};
  const char* const kind = kinds[choices.byte() % 3];
  for (int i = choices.byte() % 3; i >= 0; --i) {
    filters::FilterRules chosen = choose(choices);
    bool there = false;  // each filter may stand once
    for (const filters::FilterRules& other : rules) there = there || other.index() == chosen.index();
    if (!there) rules.push_back(std::move(chosen));
  }
  const std::string repaired = fuzz::repaired(data + choices.used(), size - choices.used());
  const std::vector<char> exact(repaired.begin(), repaired.end());  // no byte of room around it, for AddressSanitizer
  const std::string_view text(exact.data(), exact.size());
  fuzz::under_every_implementation([&] {
    filters::Judge judge(rules, filters::make_word_source(kind, "en"));
    const int early = judge.judge(text, nullptr);
    const std::string early_text(judge.text());
    std::vector<double> signals(judge.signals().size() + 1);
    fuzz::check(judge.judge(text, signals.data()) == early, "signals change the verdict");
    fuzz::check(judge.text() == early_text, "signals change the text");
    fuzz::check(early >= 0 && early <= static_cast<int>(judge.reasons().size()), "no such reason");
    fuzz::check(text::is_valid_utf8(early_text), "the text is not UTF-8");
    fuzz::check(judge.rewrites() || early_text == text, "the text changed");
    for (double& signal : signals) signal = std::isnan(signal) ? -2 : signal;
    return std::make_tuple(early, early_text, signals);
  });
  return 0;
}
