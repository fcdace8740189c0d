#include "filters/judge.h"

#include <algorithm>
#include <type_traits>

namespace smolfast::filters {

std::unique_ptr<Filter> make_filter(const FilterRules& rules) {
  return std::visit(
      [](const auto& of) -> std::unique_ptr<Filter> {
        using Of = std::decay_t<decltype(of)>;
        if constexpr (std::is_same_v<Of, GopherRepetitionRules>) return make_gopher_repetition(of);
        if constexpr (std::is_same_v<Of, GopherQualityRules>) return make_gopher_quality(of);
        if constexpr (std::is_same_v<Of, C4QualityRules>) return make_c4_quality(of);
        if constexpr (std::is_same_v<Of, C4ParagraphsRules>) return make_c4_paragraphs(of);
        if constexpr (std::is_same_v<Of, C4BadWordsRules>) return make_c4_bad_words(of);
        if constexpr (std::is_same_v<Of, FineWebQualityRules>) return make_fineweb_quality(of);
        if constexpr (std::is_same_v<Of, SymbolLinesRules>) return make_symbol_lines(of);
      },
      rules);
}

Judge::Judge(const Rules& rules, std::unique_ptr<WordSource> source) : source_(std::move(source)), document_(*source_) {
  for (const FilterRules& of : rules) {
    std::unique_ptr<Filter> filter = make_filter(of);
    const std::vector<std::string> reasons = filter->reasons();
    const std::vector<std::string> signals = filter->signals();
    steps_.push_back({std::move(filter), reasons_.size(), signals_.size()});
    reasons_.insert(reasons_.end(), reasons.begin(), reasons.end());
    signals_.insert(signals_.end(), signals.begin(), signals.end());
  }
}

bool Judge::rewrites() const {
  return std::any_of(steps_.begin(), steps_.end(), [](const Step& step) { return step.filter->rewrites(); });
}

int Judge::judge(std::string_view text, double* signals, const GivenWords* given) {
  document_.reset(text.data() == nullptr ? std::string_view("") : text);
  if (given != nullptr) document_.give_words(given->text, given->words);
  if (signals != nullptr) std::fill_n(signals, signals_.size(), kUnmeasured);
  int decided = kKept;
  for (const Step& step : steps_) {
    Verdict verdict(signals == nullptr ? nullptr : signals + step.first_signal);
    const std::string_view before = document_.text();
    step.filter->judge(document_, verdict);
    if (decided == kKept && verdict.reason() != Verdict::kKeep) {
      decided = 1 + static_cast<int>(step.first_reason) + verdict.reason();
      text_ = before;
    }
    if (verdict.over() || verdict.ended()) break;
  }
  if (decided == kKept) text_ = document_.text();
  return decided;
}

}  // namespace smolfast::filters
