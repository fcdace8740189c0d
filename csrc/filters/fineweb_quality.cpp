// FineWeb's own filter (Penedo et al. 2024), with datatrove 0.10's decisions.
#include "filters/characters.h"
#include "filters/filter.h"

namespace smolfast::filters {
namespace {

class FineWebQuality final : public Filter {
 public:
  explicit FineWebQuality(const FineWebQualityRules& rules)
      : rules_(rules), stops_(rules.stop_chars ? CharacterSet(*rules.stop_chars) : terminal_punctuation()) {}

  std::vector<std::string> reasons() const override {
    return {"empty", "line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio"};
  }
  std::vector<std::string> signals() const override {
    return {"lines", "line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio"};
  }

  void judge(Document& document, Verdict& verdict) override {
    std::size_t lines = 0;
    std::size_t stopped = 0;
    std::size_t brief = 0;
    std::size_t repeated = 0;
    for (const Stretch& line : document.lines().all()) {
      if (line.blank) continue;
      ++lines;
      stopped += stops_.contains(last_character(line.bytes));
      brief += static_cast<double>(line.characters) <= rules_.short_line_length;
      repeated += line.repeated ? line.characters : 0;
    }
    verdict.record(0, static_cast<double>(lines));
    if (lines == 0) {
      verdict.fail(0);
      return;
    }
    const double punctuated = divide(stopped, lines);
    verdict.record(1, punctuated);
    if (punctuated < rules_.line_punct_thr && !(stopped == 0 && rules_.line_punct_exclude_zero)) verdict.fail(1);
    const double short_lines = divide(brief, lines);
    verdict.record(2, short_lines);
    if (short_lines > rules_.short_line_thr) verdict.fail(2);
    if (verdict.over()) return;

    const std::size_t feeds = document.survey().feed_count;
    const double duplicates = divide(repeated, document.characters() - feeds);
    verdict.record(3, duplicates);
    if (duplicates > rules_.char_duplicates_ratio) verdict.fail(3);
    if (verdict.over()) return;

    // Words aren't cut where there are enough however they are cut.
    if (!verdict.wants_signals()) {
      const std::size_t words = document.least_words();
      if (words != 0 && !(divide(feeds, words) > rules_.new_line_ratio)) return;
    }
    const double list = divide(feeds, document.words().size());
    verdict.record(4, list);
    if (list != list) verdict.fail(0);
    if (list > rules_.new_line_ratio) verdict.fail(4);
  }

 private:
  const FineWebQualityRules rules_;
  const CharacterSet stops_;
};

}  // namespace

std::unique_ptr<Filter> make_fineweb_quality(const FineWebQualityRules& rules) {
  return std::make_unique<FineWebQuality>(rules);
}

}  // namespace smolfast::filters
