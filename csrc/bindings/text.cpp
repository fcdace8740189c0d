#include "bindings/text.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "bindings/arrow_py.h"
#include "bindings/spacy_rules.h"
#include "text/casing.h"
#include "text/clean.h"
#include "text/mojibake.h"
#include "text/normalize.h"
#include "text/redact.h"
#include "text/simplify.h"
#include "text/spacy_words.h"
#include "text/transform.h"
#include "text/unicode_words.h"
#include "text/utf8.h"

namespace smolfast::bindings {
namespace {

text::Form parse_form(const std::string& name) {
  if (name == "NFC") return text::Form::kNfc;
  if (name == "NFKC") return text::Form::kNfkc;
  if (name == "NFD") return text::Form::kNfd;
  if (name == "NFKD") return text::Form::kNfkd;
  throw Error("form '" + name + "' is unknown; use one of: NFC, NFD, NFKC, NFKD");
}

text::InvalidUtf8 parse_errors(const std::string& name) {
  if (name == "fail") return text::InvalidUtf8::kFail;
  if (name == "replace") return text::InvalidUtf8::kReplace;
  throw Error("errors '" + name + "' is unknown; use one of: fail, replace");
}

py::object export_chunk(text::TransformedChunk&& chunk) {
  struct Owned {
    text::TransformedChunk chunk;
    const void* buffers[3];
  };
  auto owned = std::make_unique<Owned>(Owned{std::move(chunk), {}});
  owned->chunk.data.room(1);  // a non-null pointer even when there are no bytes: some readers insist
  owned->buffers[0] = owned->chunk.nulls != 0 ? owned->chunk.validity.data() : nullptr;
  owned->buffers[1] = owned->chunk.offsets.data();
  owned->buffers[2] = owned->chunk.data.data();

  ArrowArray array{};
  array.length = owned->chunk.rows;
  array.null_count = owned->chunk.nulls;
  array.n_buffers = 3;
  array.buffers = owned->buffers;
  ArrowSchema schema{};
  schema.format = owned->chunk.wide ? "U" : "u";
  schema.name = "";
  schema.flags = ARROW_FLAG_NULLABLE;
  schema.release = [](ArrowSchema* self) { self->release = nullptr; };
  array.private_data = owned.release();
  array.release = [](ArrowArray* self) {
    delete static_cast<Owned*>(self->private_data);
    self->release = nullptr;
  };
  return export_strings(array, schema);
}

// A list with an item a chunk: None where nothing changes, else the new strings.
py::list transform(const py::object& strings, const text::TransformFactory& factory, int threads,
                   const std::string& errors) {
  const ImportedStrings imported(strings, "strings");
  const text::TransformOptions options{.threads = threads,
                                       .invalid = parse_errors(errors),
                                       .known_valid = imported.decoded(),
                                       .always_build = imported.decoded()};
  std::vector<text::TransformedChunk> chunks;
  {
    const py::gil_scoped_release unlocked;
    chunks = text::transform_columns(imported.chunks(), factory, options);
  }
  py::list out;
  for (text::TransformedChunk& chunk : chunks) {
    out.append(chunk.changed ? export_chunk(std::move(chunk)) : py::none());
  }
  return out;
}

[[noreturn]] void throw_invalid(std::size_t row, std::string_view value) {
  throw Error("row " + std::to_string(row) + " is not UTF-8 at byte " +
              std::to_string(text::first_invalid_byte(value)) + "; repair the column");
}

void check_length(std::size_t row, std::string_view value) {
  if (value.size() < (std::size_t{1} << 32)) return;
  throw Error("row " + std::to_string(row) + " is longer than 4 GiB, the most that word offsets can hold; split it");
}

// The words of a string as pairs of offsets.
class WordLister final : public text::Transform {
 public:
  bool run(std::string_view text, text::Buffer& out) override {
    text::WordScanner scanner(text);
    while (const std::size_t n = scanner.next(batch_.data(), batch_.size())) {
      out.append(reinterpret_cast<const char*>(batch_.data()), n * sizeof(text::Word));
    }
    return true;
  }

 private:
  std::array<text::Word, 1024> batch_;
};

class SpacyWordLister final : public text::Transform {
 public:
  explicit SpacyWordLister(const text::SpacyRules& rules) : finder_(rules) {}
  bool run(std::string_view text, text::Buffer& out) override {
    words_.clear();
    finder_.words(text, words_);
    out.append(reinterpret_cast<const char*>(words_.data()), words_.size() * sizeof(text::Word));
    return true;
  }

 private:
  text::SpacyWords finder_;
  std::vector<text::Word> words_;
};

// For each chunk the words of all rows as begin, end, begin, end, …, and where each row's words start. With a language
// they are spaCy's.
py::list words(const py::object& strings, const std::optional<std::string>& language, int threads) {
  const ImportedStrings imported(strings, "strings");
  const text::SpacyRules* const rules = language ? &spacy_rules(*language) : nullptr;
  const text::TransformFactory factory = [rules]() -> std::unique_ptr<text::Transform> {
    if (rules != nullptr) return std::make_unique<SpacyWordLister>(*rules);
    return std::make_unique<WordLister>();
  };
  const text::TransformOptions options{
      .threads = threads, .known_valid = imported.decoded(), .always_build = true, .remedy = "repair the column"};
  std::vector<text::TransformedChunk> chunks;
  std::vector<std::vector<int64_t>> starts;
  {
    const py::gil_scoped_release unlocked;
    int64_t base = 0;
    for (const arrow::StringColumn& column : imported.chunks()) {
      for (int64_t row = 0; row < column.size(); ++row) {
        check_length(static_cast<std::size_t>(base + row), column[row]);
      }
      base += column.size();
    }
    chunks = text::transform_columns(imported.chunks(), factory, options);
    for (const text::TransformedChunk& chunk : chunks) {
      std::vector<int64_t>& of_chunk = starts.emplace_back(static_cast<std::size_t>(chunk.rows) + 1);
      for (std::size_t row = 0; row < of_chunk.size() && chunk.changed; ++row) {
        of_chunk[row] = chunk.offset(static_cast<int64_t>(row)) / static_cast<int64_t>(sizeof(text::Word));
      }
    }
  }
  py::list out;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    auto edges = std::make_unique<text::Buffer>(std::move(chunks[i].data));
    edges->room(1);  // memory even for no words
    const auto size = static_cast<py::ssize_t>(edges->size() / sizeof(uint32_t));
    const auto* data = reinterpret_cast<const uint32_t*>(edges->data());
    const py::capsule owner(edges.release(), [](void* self) { delete static_cast<text::Buffer*>(self); });
    py::array_t<int64_t> row_starts(static_cast<py::ssize_t>(starts[i].size()), starts[i].data());
    out.append(py::make_tuple(row_starts, py::array_t<uint32_t>(py::array::ShapeContainer{size}, data, owner)));
  }
  return out;
}

// How many sentences spaCy's sentencizer makes of each row; 0 for null.
py::array_t<int64_t> count_sentences(const py::object& strings, const std::string& language, int threads) {
  const ImportedStrings imported(strings, "strings");
  const text::SpacyRules& rules = spacy_rules(language);
  py::array_t<int64_t> counts(static_cast<py::ssize_t>(imported.size()));
  int64_t* const out = counts.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    std::size_t base = 0;
    for (const arrow::StringColumn& column : imported.chunks()) {
      const std::vector<int64_t> starts = arrow::split_rows(column, int64_t{1} << 20);
      parallel_for(starts.size() - 1, threads, [&](std::size_t task) {
        text::SpacyWords finder(rules);
        for (int64_t row = starts[task]; row < starts[task + 1]; ++row) {
          const std::string_view value = column[row];
          const std::size_t at = base + static_cast<std::size_t>(row);
          if (!imported.decoded() && !text::is_valid_utf8(value)) throw_invalid(at, value);
          check_length(at, value);
          out[at] = static_cast<int64_t>(finder.count_sentences(value));
        }
      });
      base += static_cast<std::size_t>(column.size());
    }
  }
  return counts;
}

bool is_valid_utf8(const py::object& strings) {
  const ImportedStrings imported(strings, "strings");
  const py::gil_scoped_release unlocked;
  for (const arrow::StringColumn& column : imported.chunks()) {
    for (int64_t row = 0; row < column.size(); ++row) {
      if (!column.is_null(row) && !text::is_valid_utf8(column[row])) return false;
    }
  }
  return true;
}

// One byte a row: 1 = in the form, 0 = not, 2 = null.
py::bytes is_normalized(const py::object& strings, const std::string& form_name, int threads) {
  const text::Form form = parse_form(form_name);
  const ImportedStrings imported(strings, "strings");
  std::string verdicts(static_cast<std::size_t>(imported.size()), '\2');
  {
    const py::gil_scoped_release unlocked;
    std::size_t base = 0;
    for (const arrow::StringColumn& column : imported.chunks()) {
      const std::vector<int64_t> starts = arrow::split_rows(column, int64_t{1} << 20);
      parallel_for(starts.size() - 1, threads, [&](std::size_t task) {
        text::Normalizer normalizer(form);
        for (int64_t row = starts[task]; row < starts[task + 1]; ++row) {
          if (column.is_null(row)) continue;
          const std::string_view value = column[row];
          const std::size_t at = base + static_cast<std::size_t>(row);
          if (!imported.decoded() && !text::is_valid_utf8(value)) throw_invalid(at, value);
          verdicts[at] = normalizer.is_normalized(value) ? '\1' : '\0';
        }
      });
      base += static_cast<std::size_t>(column.size());
    }
  }
  return verdicts;
}

}  // namespace

void register_text(py::module_& m) {
  m.attr("unicode_version") = py::str(text::kUnicodeVersion);
  m.def(
      "normalize",
      [](const py::object& strings, const std::string& form_name, bool stream_safe, int threads,
         const std::string& errors) {
        const text::Form form = parse_form(form_name);
        return transform(
            strings, [=] { return std::make_unique<text::Normalizer>(form, stream_safe); }, threads, errors);
      },
      py::arg("strings"), py::arg("form"), py::arg("stream_safe"), py::arg("threads"), py::arg("errors"));
  const auto def_case = [&m](const char* name, text::CaseMapper::Mapping mapping) {
    m.def(
        name,
        [mapping](const py::object& strings, int threads, const std::string& errors) {
          return transform(strings, [mapping] { return std::make_unique<text::CaseMapper>(mapping); }, threads, errors);
        },
        py::arg("strings"), py::arg("threads"), py::arg("errors"));
  };
  m.def("is_valid_utf8", &is_valid_utf8, py::arg("strings"));
  m.def("release_kept_memory", &text::release_kept_memory);
  def_case("lower", text::CaseMapper::Mapping::kLower);
  def_case("casefold", text::CaseMapper::Mapping::kFold);
  m.def(
      "simplify",
      [](const py::object& strings, bool lowercase, bool norm_numbers, bool norm_weekdays, bool norm_monthnames,
         bool remove_punctuation, bool norm_whitespace, bool norm_unicode_diacritics, int threads,
         const std::string& errors) {
        const text::SimplifyOptions options{
            lowercase,          norm_numbers,    norm_weekdays,          norm_monthnames,
            remove_punctuation, norm_whitespace, norm_unicode_diacritics};
        return transform(strings, [options] { return std::make_unique<text::Simplifier>(options); }, threads, errors);
      },
      py::arg("strings"), py::kw_only(), py::arg("lowercase"), py::arg("norm_numbers"), py::arg("norm_weekdays"),
      py::arg("norm_monthnames"), py::arg("remove_punctuation"), py::arg("norm_whitespace"),
      py::arg("norm_unicode_diacritics"), py::arg("threads"), py::arg("errors"));
  m.def(
      "clean",
      [](const py::object& strings, const std::optional<std::string>& form, bool line_endings, bool control_characters,
         bool zero_width, bool spaces, bool trailing_whitespace, int64_t blank_lines, int threads,
         const std::string& errors) {
        text::CleanOptions options{line_endings,        control_characters, zero_width,  spaces,
                                   trailing_whitespace, blank_lines,        std::nullopt};
        if (form) options.form = parse_form(*form);
        text::CleanCounts counts;
        py::list chunks =
            transform(strings, [&] { return std::make_unique<text::Cleaner>(options, counts); }, threads, errors);
        py::dict by_rule;
        const char* const names[] = {"line_endings",        "control_characters", "zero_width", "spaces",
                                     "trailing_whitespace", "blank_lines",        "form"};
        for (int rule = 0; rule < text::CleanCounts::kRules; ++rule) {
          by_rule[names[rule]] = counts.counts[static_cast<std::size_t>(rule)].load();
        }
        return py::make_tuple(chunks, by_rule);
      },
      py::arg("strings"), py::kw_only(), py::arg("form"), py::arg("line_endings"), py::arg("control_characters"),
      py::arg("zero_width"), py::arg("spaces"), py::arg("trailing_whitespace"), py::arg("blank_lines"),
      py::arg("threads"), py::arg("errors"));
  m.def(
      "redact",
      [](const py::object& strings, bool emails, bool ips, bool public_only,
         const std::vector<std::string>& email_replacements, const std::vector<std::string>& ip_replacements,
         int threads, const std::string& errors) {
        const text::RedactOptions options{emails, ips, public_only, email_replacements, ip_replacements};
        return transform(strings, [&options] { return std::make_unique<text::Redactor>(options); }, threads, errors);
      },
      py::arg("strings"), py::kw_only(), py::arg("emails"), py::arg("ips"), py::arg("public_only"),
      py::arg("email_replacements"), py::arg("ip_replacements"), py::arg("threads"), py::arg("errors"));
  m.def(
      "fix_mojibake",
      [](const py::object& strings, int threads, const std::string& errors) {
        return transform(strings, [] { return std::make_unique<text::MojibakeFixer>(); }, threads, errors);
      },
      py::arg("strings"), py::arg("threads"), py::arg("errors"));
  m.def("words", &words, py::arg("strings"), py::arg("language"), py::arg("threads"));
  m.def("count_sentences", &count_sentences, py::arg("strings"), py::arg("language"), py::arg("threads"));
  m.def("spacy_languages", &text::spacy_languages);
  m.def("is_normalized", &is_normalized, py::arg("strings"), py::arg("form"), py::arg("threads"));
}

}  // namespace smolfast::bindings
