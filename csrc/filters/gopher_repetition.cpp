// Gopher's repetition filter (Rae et al. 2021, table A1), with datatrove 0.10's decisions.
#include "filters/filter.h"

namespace smolfast::filters {
namespace {

// The largest number whose share isn't above the limit, which is 0 at least.
std::size_t most_within(double limit, std::size_t characters) {
  constexpr double kMost = 1e15;  // doubles hold each number up to it, and no text has as many
  const double product = limit * static_cast<double>(characters);
  if (!(product < kMost)) return std::numeric_limits<std::size_t>::max();
  auto most = static_cast<std::size_t>(product);
  while (divide(most, characters) > limit) --most;
  while (divide(most + 1, characters) <= limit) ++most;
  return most;
}

class GopherRepetition final : public Filter {
 public:
  explicit GopherRepetition(const GopherRepetitionRules& rules) : rules_(rules) {}

  std::vector<std::string> reasons() const override {
    std::vector<std::string> names{"empty", "dup_para_frac", "dup_para_char_frac", "dup_line_frac",
                                   "dup_line_char_frac"};
    append_n_grams(names);
    return names;
  }
  std::vector<std::string> signals() const override {
    std::vector<std::string> names = reasons();
    names.front() = "characters";
    return names;
  }

  void judge(Document& document, Verdict& verdict) override {
    const std::size_t characters = document.characters();
    verdict.record(0, static_cast<double>(characters));
    if (characters == 0) {
      verdict.fail(0);
      return;
    }
    const auto check = [&](std::size_t signal, double value, double limit) {
      verdict.record(signal, value);
      if (value > limit) verdict.fail(signal);
    };
    const auto check_stretches = [&](std::size_t signal, const Stretches& stretches, double limit,
                                     double character_limit) {
      check(signal, divide(stretches.repeated(), stretches.all().size()), limit);
      check(signal + 1, divide(stretches.repeated_characters(), characters), character_limit);
    };
    const bool may_pass = rules_.dup_para_frac >= 0 && rules_.dup_para_char_frac >= 0 && !verdict.wants_signals();
    if (wanted(verdict, rules_.dup_para_frac, rules_.dup_para_char_frac) &&
        !(may_pass && document.has_distinct_paragraphs())) {
      check_stretches(1, document.paragraphs(), off_or(rules_.dup_para_frac), off_or(rules_.dup_para_char_frac));
      if (verdict.over()) return;
    }
    if (wanted(verdict, rules_.dup_line_frac, rules_.dup_line_char_frac)) {
      check_stretches(3, document.lines(), off_or(rules_.dup_line_frac), off_or(rules_.dup_line_char_frac));
      if (verdict.over()) return;
    }
    NGrams& grams = document.n_grams();
    // What can't be above its limit isn't counted exactly, unless the number is wanted.
    const bool exact = verdict.wants_signals();
    std::size_t signal = 5;
    for (const NGramLimit& gram : rules_.top_n_grams) {
      // No n-gram, no check: also where the limit is below 0.
      if (document.words().size() < gram.n) {
        verdict.record(signal, kUnmeasured);
      } else if (exact) {
        check(signal, divide(grams.top(gram.n), characters), gram.limit);
      } else if (gram.limit < 0 || grams.top_exceeds(gram.n, most_within(gram.limit, characters))) {
        verdict.fail(signal);
        return;
      }
      ++signal;
    }
    for (const NGramLimit& gram : rules_.dup_n_grams) {
      if (exact) {
        check(signal, divide(grams.duplicated(gram.n), characters), gram.limit);
      } else if (gram.limit < 0 || grams.duplicated_exceeds(gram.n, most_within(gram.limit, characters))) {
        verdict.fail(signal);
        return;
      }
      ++signal;
    }
  }

 private:
  static constexpr double kNoLimit = std::numeric_limits<double>::infinity();

  static double off_or(double limit) { return limit == 0 ? kNoLimit : limit; }
  static bool wanted(const Verdict& verdict, double a, double b) { return verdict.wants_signals() || a != 0 || b != 0; }

  void append_n_grams(std::vector<std::string>& names) const {
    for (const NGramLimit& gram : rules_.top_n_grams) names.push_back("top_" + std::to_string(gram.n) + "_gram");
    for (const NGramLimit& gram : rules_.dup_n_grams) {
      names.push_back("duplicated_" + std::to_string(gram.n) + "_n_grams");
    }
  }

  const GopherRepetitionRules rules_;
};

}  // namespace

std::unique_ptr<Filter> make_gopher_repetition(const GopherRepetitionRules& rules) {
  return std::make_unique<GopherRepetition>(rules);
}

}  // namespace smolfast::filters
