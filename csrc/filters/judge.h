// Documents through a list of filters, in order: the first check that fails decides.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "filters/document.h"
#include "filters/filter.h"
#include "filters/rules.h"
#include "filters/word_source.h"

namespace smolfast::filters {

// One thread's; its memory is used again from document to document.
class Judge {
 public:
  static constexpr int kKept = 0;

  Judge(const Rules& rules, std::unique_ptr<WordSource> source);

  // What a document can be removed for (verdicts count from 1 in this list), and the numbers, each "FILTER NUMBER".
  const std::vector<std::string>& reasons() const { return reasons_; }
  const std::vector<std::string>& signals() const { return signals_; }
  // Whether a filter rewrites.
  bool rewrites() const;

  // kKept, or 1 + the place of the reason. The text is valid UTF-8 of less than 4 GiB. Without `signals`, filters don't
  // see what an earlier one removed; with it, all numbers are measured, and where there is no text to measure
  // kUnmeasured is written.
  int judge(std::string_view text, double* signals) { return judge(text, signals, nullptr); }
  // The same with the text's words from elsewhere; filters that need those of a rewritten text, or sentences, throw.
  struct GivenWords {
    std::string_view text;
    std::vector<text::Word> words;
  };
  int judge(std::string_view text, double* signals, const GivenWords* given);
  // The last document's text as the filter that removed it saw it, or as all left it.
  std::string_view text() const { return text_; }

 private:
  struct Step {
    std::unique_ptr<Filter> filter;
    std::size_t first_reason;
    std::size_t first_signal;
  };

  std::unique_ptr<WordSource> source_;
  Document document_;
  std::vector<Step> steps_;
  std::vector<std::string> reasons_;
  std::vector<std::string> signals_;
  std::string_view text_;
};

}  // namespace smolfast::filters
