// One filter: it measures a document, and says which of its checks removes it.
#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "filters/document.h"
#include "filters/rules.h"

namespace smolfast::filters {

// What wasn't measured. (What would be divided by 0 is NaN.)
constexpr double kUnmeasured = -1;

// A filter's numbers on their way out, and the first check that one of them failed.
class Verdict {
 public:
  static constexpr int kKeep = -1;

  // `signals` has a place for each number, or is null.
  explicit Verdict(double* signals) : signals_(signals) {}

  // Whether there is nothing left to do: a check failed, and nobody wants the numbers.
  bool over() const { return reason_ != kKeep && signals_ == nullptr; }
  bool wants_signals() const { return signals_ != nullptr; }
  int reason() const { return reason_; }

  // After a check that failed whatever its limit: there is no text for the filters that follow.
  void end() { ended_ = true; }
  bool ended() const { return ended_; }

  void record(std::size_t signal, double value) {
    if (signals_ != nullptr) signals_[signal] = value;
  }
  void fail(std::size_t reason) {
    if (reason_ == kKeep) reason_ = static_cast<int>(reason);
  }

 private:
  double* signals_;
  int reason_ = kKeep;
  bool ended_ = false;
};

class Filter {
 public:
  virtual ~Filter() = default;
  // The reasons it gives, and the numbers it measures, in the order of its checks.
  virtual std::vector<std::string> reasons() const = 0;
  virtual std::vector<std::string> signals() const = 0;
  // Measures in the order of the checks, each number only if a check may need it, or all if they are wanted. A filter
  // that rewrites gives the document its new text if no check failed.
  virtual void judge(Document& document, Verdict& verdict) = 0;
  virtual bool rewrites() const { return false; }
};

std::unique_ptr<Filter> make_filter(const FilterRules& rules);

std::unique_ptr<Filter> make_gopher_repetition(const GopherRepetitionRules& rules);
std::unique_ptr<Filter> make_gopher_quality(const GopherQualityRules& rules);
std::unique_ptr<Filter> make_c4_quality(const C4QualityRules& rules);
std::unique_ptr<Filter> make_c4_paragraphs(const C4ParagraphsRules& rules);
std::unique_ptr<Filter> make_c4_bad_words(const C4BadWordsRules& rules);
std::unique_ptr<Filter> make_fineweb_quality(const FineWebQualityRules& rules);
std::unique_ptr<Filter> make_symbol_lines(const SymbolLinesRules& rules);

inline double divide(std::size_t a, std::size_t b) {
  return b == 0 ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(a) / static_cast<double>(b);
}

}  // namespace smolfast::filters
