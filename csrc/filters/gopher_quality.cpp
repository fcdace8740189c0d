// Gopher's quality filter (Rae et al. 2021, appendix A.1.1), with datatrove 0.10's decisions.
#include <algorithm>
#include <cstring>

#include "filters/characters.h"
#include "filters/filter.h"

namespace smolfast::filters {
namespace {

enum Check : std::size_t {
  kShort,
  kLong,
  kBelowAverage,
  kAboveAverage,
  kHashes,
  kEllipsis,
  kBullets,
  kEndEllipsis,
  kAlpha,
  kStopWords,
  kEmpty
};
enum Signal : std::size_t {
  kWords,
  kMeanWordLength,
  kHashRatio,
  kEllipsisRatio,
  kBulletLinesRatio,
  kEllipsisLinesRatio,
  kAlphaWordsRatio,
  kStopWordCount
};

constexpr std::string_view kEllipsisCharacter = "\xE2\x80\xA6";
constexpr std::string_view kBullet = "\xE2\x80\xA2";

// Python's str.count("...") and str.count("…").
std::size_t count_ellipses(std::string_view text) {
  std::size_t count = 0;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (end - at >= 3) {
    at = static_cast<const char*>(std::memchr(at, '.', static_cast<std::size_t>(end - at - 2)));
    if (at == nullptr) break;
    if (at[1] == '.' && at[2] == '.') {
      ++count;
      at += 3;
    } else {
      at += 1;
    }
  }
  for (std::size_t i = text.find(kEllipsisCharacter); i != std::string_view::npos;
       i = text.find(kEllipsisCharacter, i + kEllipsisCharacter.size())) {
    ++count;
  }
  return count;
}

class GopherQuality final : public Filter {
 public:
  explicit GopherQuality(const GopherQualityRules& rules) : rules_(rules) {
    std::sort(rules_.stop_words.begin(), rules_.stop_words.end());
    rules_.stop_words.erase(std::unique(rules_.stop_words.begin(), rules_.stop_words.end()), rules_.stop_words.end());
    for (const std::string& word : rules_.stop_words) {
      if (!word.empty()) first_bytes_[static_cast<uint8_t>(word.front())] = true;
    }
    met_.resize(rules_.stop_words.size());
  }

  std::vector<std::string> reasons() const override {
    return {"gopher_short_doc",
            "gopher_long_doc",
            "gopher_below_avg_threshold",
            "gopher_above_avg_threshold",
            "gopher_too_many_hashes",
            "gopher_too_many_ellipsis",
            "gopher_too_many_bullets",
            "gopher_too_many_end_ellipsis",
            "gopher_below_alpha_threshold",
            "gopher_enough_stop_words",
            "empty"};
  }
  std::vector<std::string> signals() const override {
    return {"non_symbol_words",   "mean_word_length",     "hash_ratio",        "ellipsis_ratio",
            "bullet_lines_ratio", "ellipsis_lines_ratio", "alpha_words_ratio", "stop_words"};
  }

  void judge(Document& document, Verdict& verdict) override {
    const std::size_t words = document.words().size();
    const text::MeasuredWords::Sums& sums = document.words().sums;
    const auto solid = static_cast<double>(sums.solid);
    verdict.record(kWords, solid);
    if (rules_.min_doc_words != 0 && solid < rules_.min_doc_words) verdict.fail(kShort);
    if (rules_.max_doc_words != 0 && solid > rules_.max_doc_words) verdict.fail(kLong);
    if (verdict.over()) return;

    const double mean = divide(sums.solid_characters, sums.solid);
    verdict.record(kMeanWordLength, mean);
    if (rules_.min_avg_word_length != 0 && mean < rules_.min_avg_word_length) verdict.fail(kBelowAverage);
    if (rules_.max_avg_word_length != 0 && mean > rules_.max_avg_word_length) verdict.fail(kAboveAverage);
    if (verdict.over()) return;

    // A number over no words or lines is no number: datatrove ends with ZeroDivisionError.
    const auto check = [&](Signal signal, double value, double limit, bool below, Check reason) {
      verdict.record(signal, value);
      if (limit == 0) return;
      if (value != value) {
        verdict.fail(kEmpty);
      } else if (below ? value < limit : value > limit) {
        verdict.fail(reason);
      }
    };
    if (verdict.wants_signals() || rules_.max_symbol_word_ratio != 0) {
      check(kHashRatio, divide(document.survey().hashes, words), rules_.max_symbol_word_ratio, false, kHashes);
      if (verdict.over()) return;
      const std::size_t ellipses = document.survey().ellipses ? count_ellipses(document.text()) : 0;
      check(kEllipsisRatio, divide(ellipses, words), rules_.max_symbol_word_ratio, false, kEllipsis);
      if (verdict.over()) return;
    }
    if (verdict.wants_signals() || rules_.max_bullet_lines_ratio != 0 || rules_.max_ellipsis_lines_ratio != 0) {
      measure_lines(document);
      check(kBulletLinesRatio, divide(bullets_, lines_), rules_.max_bullet_lines_ratio, false, kBullets);
      if (verdict.over()) return;
      check(kEllipsisLinesRatio, divide(trailing_off_, lines_), rules_.max_ellipsis_lines_ratio, false, kEndEllipsis);
      if (verdict.over()) return;
    }
    check(kAlphaWordsRatio, divide(sums.lettered, words), rules_.max_non_alpha_words_ratio, true, kAlpha);
    if (verdict.over()) return;
    if (verdict.wants_signals() || rules_.min_stop_words != 0) {
      const auto met = static_cast<double>(count_stop_words(document, verdict.wants_signals()));
      verdict.record(kStopWordCount, met);
      if (rules_.min_stop_words != 0 && met < rules_.min_stop_words) verdict.fail(kStopWords);
    }
  }

 private:
  void measure_lines(Document& document) {
    lines_ = bullets_ = trailing_off_ = 0;
    const bool ellipses = document.survey().ellipses;
    document.each_line([&](std::string_view line) {
      ++lines_;
      const std::string_view left = strip_left(line);
      bullets_ += left.starts_with(kBullet) || left.starts_with('-');
      if (!ellipses) return true;
      const std::string_view right = strip_right(line);
      trailing_off_ += right.ends_with("...") || right.ends_with(kEllipsisCharacter);
      return true;
    });
  }

  // Distinct ones; no more than decide, unless all are wanted.
  std::size_t count_stop_words(Document& document, bool all) {
    std::fill(met_.begin(), met_.end(), false);
    std::size_t met = 0;
    for (std::size_t i = 0; i < document.words().size(); ++i) {
      const std::string_view word = document.word(i);
      if (!first_bytes_[static_cast<uint8_t>(word.front())]) continue;
      const auto found = std::lower_bound(rules_.stop_words.begin(), rules_.stop_words.end(), word);
      if (found == rules_.stop_words.end() || *found != word) continue;
      const auto at = static_cast<std::size_t>(found - rules_.stop_words.begin());
      if (met_[at]) continue;
      met_[at] = true;
      if (++met == rules_.stop_words.size() || (!all && static_cast<double>(met) >= rules_.min_stop_words)) break;
    }
    return met;
  }

  GopherQualityRules rules_;
  bool first_bytes_[256] = {};
  std::vector<bool> met_;
  std::size_t lines_ = 0;
  std::size_t bullets_ = 0;
  std::size_t trailing_off_ = 0;
};

}  // namespace

std::unique_ptr<Filter> make_gopher_quality(const GopherQualityRules& rules) {
  return std::make_unique<GopherQuality>(rules);
}

}  // namespace smolfast::filters
