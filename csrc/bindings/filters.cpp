#include "bindings/filters.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bindings/arrow_py.h"
#include "filters/columns.h"

namespace smolfast::bindings {
namespace {

// A filter's rules as smolfast.curate hands them over: checked, every key there.
template <typename T>
T get(const py::dict& rules, const char* key) {
  return rules[key].cast<T>();
}

std::vector<filters::NGramLimit> get_n_grams(const py::dict& rules, const char* key) {
  std::vector<filters::NGramLimit> limits;
  for (const auto& [n, limit] : get<std::vector<std::pair<std::size_t, double>>>(rules, key)) {
    if (n == 0 || n > filters::NGrams::kMostWords) {
      throw Error(std::string(key) + ": n-grams of " + std::to_string(n) + " words; use 1 to " +
                  std::to_string(filters::NGrams::kMostWords));
    }
    limits.push_back({n, limit});
  }
  return limits;
}

filters::FilterRules parse_filter(const std::string& name, const py::dict& from) {
  if (name == "gopher_repetition") {
    return filters::GopherRepetitionRules{
        .dup_para_frac = get<double>(from, "dup_para_frac"),
        .dup_para_char_frac = get<double>(from, "dup_para_char_frac"),
        .dup_line_frac = get<double>(from, "dup_line_frac"),
        .dup_line_char_frac = get<double>(from, "dup_line_char_frac"),
        .top_n_grams = get_n_grams(from, "top_n_grams"),
        .dup_n_grams = get_n_grams(from, "dup_n_grams"),
    };
  }
  if (name == "gopher_quality") {
    return filters::GopherQualityRules{
        .min_doc_words = get<double>(from, "min_doc_words"),
        .max_doc_words = get<double>(from, "max_doc_words"),
        .min_avg_word_length = get<double>(from, "min_avg_word_length"),
        .max_avg_word_length = get<double>(from, "max_avg_word_length"),
        .max_symbol_word_ratio = get<double>(from, "max_symbol_word_ratio"),
        .max_bullet_lines_ratio = get<double>(from, "max_bullet_lines_ratio"),
        .max_ellipsis_lines_ratio = get<double>(from, "max_ellipsis_lines_ratio"),
        .max_non_alpha_words_ratio = get<double>(from, "max_non_alpha_words_ratio"),
        .min_stop_words = get<double>(from, "min_stop_words"),
        .stop_words = get<std::vector<std::string>>(from, "stop_words"),
    };
  }
  if (name == "c4_quality") {
    return filters::C4QualityRules{
        .remove_citations = get<bool>(from, "remove_citations"),
        .filter_no_terminal_punct = get<bool>(from, "filter_no_terminal_punct"),
        .min_num_sentences = get<double>(from, "min_num_sentences"),
        .min_words_per_line = get<double>(from, "min_words_per_line"),
        .max_word_length = get<double>(from, "max_word_length"),
        .filter_lorem_ipsum = get<bool>(from, "filter_lorem_ipsum"),
        .filter_javascript = get<bool>(from, "filter_javascript"),
        .filter_curly_bracket = get<bool>(from, "filter_curly_bracket"),
        .filter_policy = get<bool>(from, "filter_policy"),
    };
  }
  if (name == "c4_paragraphs") {
    return filters::C4ParagraphsRules{.min_paragraph_len = get<double>(from, "min_paragraph_len")};
  }
  if (name == "c4_bad_words") {
    return filters::C4BadWordsRules{
        .words = get<std::vector<std::string>>(from, "words"),
        .flanked = get<bool>(from, "flanked"),
    };
  }
  if (name == "fineweb_quality") {
    return filters::FineWebQualityRules{
        .line_punct_thr = get<double>(from, "line_punct_thr"),
        .line_punct_exclude_zero = get<bool>(from, "line_punct_exclude_zero"),
        .stop_chars = get<std::optional<std::string>>(from, "stop_chars"),
        .short_line_thr = get<double>(from, "short_line_thr"),
        .short_line_length = get<double>(from, "short_line_length"),
        .char_duplicates_ratio = get<double>(from, "char_duplicates_ratio"),
        .new_line_ratio = get<double>(from, "new_line_ratio"),
    };
  }
  if (name == "symbol_lines") {
    return filters::SymbolLinesRules{
        .symbols_to_remove = get<std::optional<std::string>>(from, "symbols_to_remove"),
        .replace_char = get<std::string>(from, "replace_char"),
    };
  }
  throw Error("filter '" + name + "' is unknown to the native module; build it again");
}

template <typename T>
py::array_t<T> to_array(std::vector<T>&& values) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  const auto size = static_cast<py::ssize_t>(owned->size());
  const T* const data = owned->data();
  const py::capsule owner(owned.release(), [](void* self) { delete static_cast<std::vector<T>*>(self); });
  return py::array_t<T>(py::array::ShapeContainer{size}, data, owner);
}

// Words as smolfast.curate hands them over: one chunk, and an end a row.
void check_tokens(const ImportedStrings& tokens, const std::optional<py::array_t<int64_t, py::array::c_style>>& ends,
                  int64_t rows) {
  bool fits = tokens.chunks().size() == 1 && ends && ends->size() == rows;
  int64_t last = 0;
  for (int64_t row = 0; fits && row < rows; ++row) {
    fits = ends->data()[row] >= last;
    last = ends->data()[row];
  }
  if (!fits || last > tokens.size()) throw Error("tokens: not one chunk with an end for each row; give both anew");
}

std::unique_ptr<filters::JudgePool> make_judges(const std::vector<std::pair<std::string, py::dict>>& rules,
                                                const std::string& words, const std::string& language) {
  filters::Rules parsed;
  for (const auto& [name, of] : rules) parsed.push_back(parse_filter(name, of));
  return std::make_unique<filters::JudgePool>(std::move(parsed), words, language);
}

py::dict judge(filters::JudgePool& judges, const py::object& strings, const py::object& tokens,
               const std::optional<py::array_t<int64_t, py::array::c_style>>& token_ends, bool signals, int threads,
               const std::string& errors) {
  const ImportedStrings imported(strings, "strings");
  std::optional<ImportedStrings> given;
  if (!tokens.is_none()) {
    given.emplace(tokens, "tokens");
    check_tokens(*given, token_ends, imported.size());
  }
  const filters::JudgeOptions options{
      .threads = threads,
      .signals = signals,
      .invalid = errors == "replace" ? text::InvalidUtf8::kReplace : text::InvalidUtf8::kFail,
      .known_valid = imported.decoded(),
      .tokens = given ? &given->chunks().front() : nullptr,
      .token_ends = given ? token_ends->data() : nullptr,
  };
  filters::JudgedColumns judged;
  {
    const py::gil_scoped_release unlocked;
    judged = filters::judge_columns(imported.chunks(), judges, options);
  }
  py::dict out;
  out["reasons"] = judged.reasons;
  out["verdicts"] = to_array(std::move(judged.verdicts));
  py::list measured;
  for (std::size_t i = 0; i < judged.measured.size(); ++i) {
    measured.append(py::make_tuple(judged.signals[i], to_array(std::move(judged.measured[i]))));
  }
  out["signals"] = measured;
  out["texts"] = judged.rewrites ? export_strings(judged.texts) : py::object(py::none());
  return out;
}

}  // namespace

void register_filters(py::module_& m) {
  py::class_<filters::JudgePool>(m, "Judges")
      .def(py::init(&make_judges), py::arg("rules"), py::kw_only(), py::arg("words"), py::arg("language"))
      .def("judge", &judge, py::arg("strings"), py::kw_only(), py::arg("tokens"), py::arg("token_ends"),
           py::arg("signals"), py::arg("threads"), py::arg("errors"));
}

}  // namespace smolfast::bindings
