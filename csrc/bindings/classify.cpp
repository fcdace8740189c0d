#include "bindings/classify.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "bindings/arrow_py.h"
#include "fasttext/classifier.h"
#include "fasttext/compress.h"
#include "fasttext/trainer.h"
#include "text/buffer.h"
#include "text/utf8.h"

namespace smolfast::bindings {
namespace {

using fasttext::Classifier;
using fasttext::Prediction;
template <typename Number>
using Array = py::array_t<Number, py::array::c_style>;

constexpr int64_t kTaskBytes = 16 << 10;  // so that threads end at nearly the same time

enum class Policy { kSpace, kEnd, kFail };

Policy parse_newlines(const std::string& name) {
  if (name == "space") return Policy::kSpace;
  if (name == "end") return Policy::kEnd;
  if (name == "fail") return Policy::kFail;
  throw Error("newlines '" + name + "' is unknown; use one of: space, end, fail");
}

bool parse_repair(const std::string& errors) {
  if (errors == "fail") return false;
  if (errors == "replace") return true;
  throw Error("errors '" + errors + "' is unknown; use one of: fail, replace");
}

// How texts are read, and by how many threads.
struct Reading {
  Policy newlines;
  bool repair;
  int threads;

  Reading(const std::string& newlines_name, const std::string& errors, int thread_count)
      : newlines(parse_newlines(newlines_name)), repair(parse_repair(errors)), threads(thread_count) {}
};

// Rows [begin, end) of a chunk, of which the first is number `first` of all.
struct Task {
  const arrow::StringColumn* column;
  int64_t begin;
  int64_t end;
  int64_t first;
};

std::vector<Task> tasks_of(const ImportedStrings& strings) {
  std::vector<Task> tasks;
  int64_t first = 0;
  for (const arrow::StringColumn& column : strings.chunks()) {
    const std::vector<int64_t> starts = arrow::split_rows(column, kTaskBytes);
    for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
      if (starts[i] < starts[i + 1]) tasks.push_back({&column, starts[i], starts[i + 1], first + starts[i]});
    }
    first += column.size();
  }
  return tasks;
}

// Calls body(workspace, task's number, row, text) for its rows that aren't null, on all threads.
template <typename Body>
void for_each_text(const Classifier& classifier, const ImportedStrings& strings, const std::vector<Task>& tasks,
                   const Reading& reading, const Body& body) {
  parallel_for(tasks.size(), reading.threads, [&](std::size_t number) {
    const Task& task = tasks[number];
    std::unique_ptr<Classifier::Workspace> work = classifier.take_workspace();
    text::Buffer repaired;
    for (int64_t row = task.begin; row < task.end; ++row) {
      if (task.column->is_null(row)) continue;
      std::string_view value = (*task.column)[row];
      const int64_t of_all = task.first + row - task.begin;
      if (!strings.decoded() && !text::is_valid_utf8(value)) {
        if (!reading.repair) {
          throw Error("strings: row " + std::to_string(of_all) + " is not UTF-8 at byte " +
                      std::to_string(text::first_invalid_byte(value)) +
                      "; pass errors=\"replace\" to put U+FFFD there, or repair the column");
        }
        repaired.clear();
        text::append_repaired(value, repaired);
        value = repaired.view();
      }
      if (reading.newlines != Policy::kSpace) {
        const std::size_t at = value.find('\n');
        if (at != std::string_view::npos && reading.newlines == Policy::kFail) {
          throw Error("strings: row " + std::to_string(of_all) + " has a line feed at byte " + std::to_string(at) +
                      "; pass newlines=\"space\" to read it as a space, or newlines=\"end\" for the first line alone");
        }
        value = value.substr(0, at);
      }
      body(*work, number, of_all, value);
    }
    classifier.give_back(std::move(work));
  });
}

template <typename Number>
Array<Number> as_array(std::vector<Number>&& numbers) {
  auto owned = std::make_unique<std::vector<Number>>(std::move(numbers));
  const auto size = static_cast<py::ssize_t>(owned->size());
  const Number* const data = owned->data();
  const py::capsule owner(owned.release(), [](void* self) { delete static_cast<std::vector<Number>*>(self); });
  return Array<Number>(py::array::ShapeContainer{size}, data, owner);
}

// How many labels each row has, and the labels and scores of all rows.
py::tuple predict(const Classifier& classifier, const py::object& strings, int32_t k, float threshold,
                  const std::string& newlines, const std::string& errors, int threads) {
  const Reading reading(newlines, errors, threads);
  classifier.check_supervised();
  const ImportedStrings imported(strings, "strings");
  std::vector<int32_t> counts;
  std::vector<int32_t> labels;
  std::vector<float> scores;
  {
    const py::gil_scoped_release unlocked;
    const std::vector<Task> tasks = tasks_of(imported);
    counts.assign(static_cast<std::size_t>(imported.size()), 0);
    struct alignas(64) OfTask {  // a line of its own: a neighbour's thread writes at the same time
      std::vector<Prediction> found;
    };
    std::vector<OfTask> results(tasks.size());
    for_each_text(classifier, imported, tasks, reading,
                  [&](Classifier::Workspace& work, std::size_t task, int64_t row, std::string_view text) {
                    std::vector<Prediction>& found = results[task].found;
                    const std::size_t before = found.size();
                    classifier.predict(work, text, k, threshold, found);
                    counts[static_cast<std::size_t>(row)] = static_cast<int32_t>(found.size() - before);
                  });
    std::size_t total = 0;
    for (const OfTask& task : results) total += task.found.size();
    labels.reserve(total);
    scores.reserve(total);
    for (const OfTask& task : results) {
      for (const Prediction& prediction : task.found) {
        labels.push_back(prediction.label);
        scores.push_back(prediction.score);
      }
    }
  }
  return py::make_tuple(as_array(std::move(counts)), as_array(std::move(labels)), as_array(std::move(scores)));
}

// A matrix with a row for each string, `cols` wide, filled by fill(work, text, row's numbers); NaN for null.
template <typename Fill>
Array<float> matrix_of(const Classifier& classifier, const py::object& strings, std::size_t cols,
                       const Reading& reading, const Fill& fill) {
  const ImportedStrings imported(strings, "strings");
  Array<float> matrix({imported.size(), static_cast<int64_t>(cols)});
  float* const out = matrix.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    std::fill_n(out, static_cast<std::size_t>(imported.size()) * cols, std::numeric_limits<float>::quiet_NaN());
    for_each_text(classifier, imported, tasks_of(imported), reading,
                  [&](Classifier::Workspace& work, std::size_t, int64_t row, std::string_view text) {
                    fill(work, text, out + static_cast<std::size_t>(row) * cols);
                  });
  }
  return matrix;
}

Array<float> scores(const Classifier& classifier, const py::object& strings, const std::vector<int32_t>& labels,
                    const std::string& newlines, const std::string& errors, int threads) {
  classifier.check_supervised();
  for (const int32_t label : labels) {
    if (label < 0 || label >= classifier.model().labels()) throw Error("labels: " + std::to_string(label) + " is none");
  }
  return matrix_of(classifier, strings, labels.size(), Reading(newlines, errors, threads),
                   [&](Classifier::Workspace& work, std::string_view text, float* out) {
                     classifier.scores(work, text, labels, out);
                   });
}

Array<float> embed(const Classifier& classifier, const py::object& strings, const std::string& newlines,
                   const std::string& errors, int threads) {
  return matrix_of(
      classifier, strings, static_cast<std::size_t>(classifier.model().settings.dim),
      Reading(newlines, errors, threads),
      [&](Classifier::Workspace& work, std::string_view text, float* out) { classifier.embed(work, text, out); });
}

py::dict settings_of(const fasttext::Model& model) {
  static const char* const losses[] = {"", "hs", "ns", "softmax", "ova"};
  static const char* const kinds[] = {"", "cbow", "skipgram", "supervised"};
  const fasttext::Settings& s = model.settings;
  py::dict out;
  out["format"] = model.version;
  out["model"] = kinds[static_cast<int>(s.model)];
  out["loss"] = losses[static_cast<int>(s.loss)];
  out["dim"] = s.dim;
  out["epoch"] = s.epoch;
  out["minCount"] = s.min_count;
  out["wordNgrams"] = s.word_ngrams;
  out["minn"] = s.minn;
  out["maxn"] = s.maxn;
  out["bucket"] = s.bucket;
  out["words"] = model.vocabulary.words();
  out["quantised"] = model.input.quantised();
  return out;
}

py::list labels_of(const fasttext::Model& model) {
  py::list labels;
  for (int32_t i = 0; i < model.labels(); ++i) {
    const std::string_view label = model.label(i);
    labels.append(py::bytes(label.data(), label.size()));
  }
  return labels;
}

// Writes the file; gives the mean loss of each epoch.
std::vector<double> train(const std::vector<std::pair<std::string, py::object>>& sides, const std::string& path,
                          const std::string& loss, int32_t dim, int32_t epoch, double rate, int32_t word_ngrams,
                          int32_t minn, int32_t maxn, int32_t bucket, int32_t min_count, uint64_t seed, int threads) {
  fasttext::TrainingOptions options;
  options.settings.loss = loss == "ova" ? fasttext::Loss::kOneAgainstAll : fasttext::Loss::kSoftmax;
  options.settings.dim = dim;
  options.settings.epoch = epoch;
  options.settings.word_ngrams = word_ngrams;
  options.settings.minn = minn;
  options.settings.maxn = maxn;
  options.settings.bucket = bucket;
  options.settings.min_count = min_count;
  options.rate = rate;
  options.seed = seed;
  options.threads = threads;
  std::vector<std::unique_ptr<ImportedStrings>> imported;
  std::vector<fasttext::Labelled> documents;
  for (const auto& [label, strings] : sides) {
    imported.push_back(std::make_unique<ImportedStrings>(strings, label.c_str()));
    fasttext::Labelled& side = documents.emplace_back(fasttext::Labelled{label, {}});
    for (const arrow::StringColumn& column : imported.back()->chunks()) {
      for (int64_t row = 0; row < column.size(); ++row) {
        if (!column.is_null(row)) side.texts.push_back(column[row]);
      }
    }
  }
  std::vector<double> losses;
  const py::gil_scoped_release unlocked;
  fasttext::train(documents, options, path, losses);
  return losses;
}

// For each label what each phrase adds to its logit: of one word the mean of its rows, of several the n-gram's row.
Array<float> weights(const Classifier& classifier, const std::vector<std::string>& phrases) {
  const fasttext::Model& model = classifier.model();
  Array<float> out({static_cast<int64_t>(phrases.size()), static_cast<int64_t>(model.labels())});
  float* to = out.mutable_data();
  const py::gil_scoped_release unlocked;
  fasttext::Features features(model);
  std::vector<float> vector(static_cast<std::size_t>(model.settings.dim));
  for (const std::string& phrase : phrases) {
    features.phrase_vector(phrase, vector.data());
    for (int32_t label = 0; label < model.labels(); ++label) {
      *to++ = model.output.dot(fasttext::kernels(), label, vector.data(), features.row_scratch());
    }
  }
  return out;
}

py::dict quantize(const std::string& from, const std::string& to, int64_t cutoff, int64_t dsub, bool qnorm, bool qout,
                  int threads) {
  const fasttext::Compressed made = [&] {
    const py::gil_scoped_release unlocked;
    return fasttext::compress(from, to, {cutoff, dsub, qnorm, qout, threads});
  }();
  py::dict out;
  out["words"] = made.words;
  out["ngrams"] = made.ngrams;
  out["error"] = made.error;
  out["output_error"] = made.output_error;
  return out;
}

}  // namespace

void register_classify(py::module_& m) {
  py::class_<Classifier>(m, "FastText")
      .def(py::init([](const std::string& path) { return std::make_unique<Classifier>(fasttext::Model(path)); }),
           py::arg("path"), py::call_guard<py::gil_scoped_release>())
      .def("settings", [](const Classifier& self) { return settings_of(self.model()); })
      .def("labels", [](const Classifier& self) { return labels_of(self.model()); })
      .def("predict", &predict, py::arg("strings"), py::arg("k"), py::arg("threshold"), py::arg("newlines"),
           py::arg("errors"), py::arg("threads"))
      .def("scores", &scores, py::arg("strings"), py::arg("labels"), py::arg("newlines"), py::arg("errors"),
           py::arg("threads"))
      .def("weights", &weights, py::arg("phrases"))
      .def("embed", &embed, py::arg("strings"), py::arg("newlines"), py::arg("errors"), py::arg("threads"));
  m.def("train_fasttext", &train, py::arg("sides"), py::arg("path"), py::kw_only(), py::arg("loss"), py::arg("dim"),
        py::arg("epoch"), py::arg("lr"), py::arg("word_ngrams"), py::arg("minn"), py::arg("maxn"), py::arg("bucket"),
        py::arg("min_count"), py::arg("seed"), py::arg("threads"));
  m.def("quantize_fasttext", &quantize, py::arg("path"), py::arg("output"), py::kw_only(), py::arg("cutoff"),
        py::arg("dsub"), py::arg("qnorm"), py::arg("qout"), py::arg("threads"));
}

}  // namespace smolfast::bindings
