#include "fasttext/trainer.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>
#include <unordered_map>

#include "base/aligned.h"
#include "base/error.h"
#include "base/threads.h"
#include "fasttext/elementary.h"
#include "fasttext/features.h"
#include "fasttext/file_head.h"
#include "fasttext/random.h"

namespace smolfast::fasttext {
namespace {

struct Document {
  std::string_view text;
  int32_t label;
};

// Words by descending count; equal counts in the order in which they came first.
std::vector<Entry> count_words(const std::vector<Document>& documents, int32_t least, int threads, int64_t& tokens) {
  constexpr std::size_t kTasks = 64;
  struct Part {
    std::unordered_map<std::string_view, std::size_t> places;
    std::vector<Entry> words;
  };
  std::vector<Part> parts(kTasks);
  const auto count = [](Part& part, std::string_view word, int64_t times) {
    const auto [at, is_new] = part.places.try_emplace(word, part.words.size());
    if (is_new) part.words.push_back({word, 0});
    part.words[at->second].count += times;
  };
  parallel_for(kTasks, threads, [&](std::size_t task) {
    const std::size_t begin = documents.size() * task / kTasks;
    const std::size_t end = documents.size() * (task + 1) / kTasks;
    for (std::size_t i = begin; i < end; ++i) {
      bool ended = false;
      for_each_token(documents[i].text, [&](std::string_view word) {
        if (word.starts_with(kLabelPrefix)) return true;
        count(parts[task], word, 1);
        ended = word == kEndOfLine;
        return !ended;
      });
      if (!ended) count(parts[task], kEndOfLine, 1);
    }
  });
  Part all;
  for (const Part& part : parts) {
    for (const Entry& entry : part.words) count(all, entry.word, entry.count);
  }
  tokens = 0;
  for (const Entry& entry : all.words) tokens += entry.count;
  std::erase_if(all.words, [&](const Entry& entry) { return entry.count < least; });
  std::stable_sort(all.words.begin(), all.words.end(),
                   [](const Entry& a, const Entry& b) { return a.count > b.count; });
  return all.words;
}

// The rows of every document, found as prediction finds them: by a model of these words whose vectors are one number.
// Those of document i begin at starts[i].
std::vector<int32_t> rows_of(const std::vector<Document>& documents, Settings settings, const std::vector<Entry>& words,
                             const std::vector<Entry>& labels, int64_t tokens, int threads,
                             std::vector<std::size_t>& starts) {
  constexpr std::size_t kTasks = 64;
  settings.dim = 1;
  const auto input_rows = static_cast<int64_t>(words.size()) + settings.bucket;
  std::string file = file_head(settings, words, labels, tokens, nullptr) + matrix_head(input_rows, 1);
  file.resize(file.size() + (words.size() + static_cast<std::size_t>(settings.bucket)) * sizeof(float));
  file += matrix_head(static_cast<int64_t>(labels.size()), 1);
  file.resize(file.size() + labels.size() * sizeof(float));
  const Model model(file, "the model in training");
  std::vector<std::vector<int32_t>> part_rows(kTasks);
  std::vector<std::vector<std::size_t>> part_ends(kTasks);
  parallel_for(kTasks, threads, [&](std::size_t task) {
    Features features(model);
    for (std::size_t i = documents.size() * task / kTasks; i < documents.size() * (task + 1) / kTasks; ++i) {
      features.rows_of(documents[i].text, part_rows[task]);
      part_ends[task].push_back(part_rows[task].size());
    }
  });
  std::vector<int32_t> rows;
  for (std::size_t task = 0; task < kTasks; ++task) {
    for (const std::size_t end : part_ends[task]) starts.push_back(rows.size() + end);
    rows.insert(rows.end(), part_rows[task].begin(), part_rows[task].end());
    std::vector<int32_t>().swap(part_rows[task]);
  }
  return rows;
}

// The weights, and a step with one document.
class Steps {
 public:
  Steps(const Settings& settings, float* input, int32_t labels)
      : kernels_(kernels()),
        one_against_all_(settings.loss == Loss::kOneAgainstAll),
        dim_(static_cast<std::size_t>(settings.dim)),
        input_(input),
        output_(static_cast<std::size_t>(labels) * dim_),
        hidden_(dim_),
        gradient_(dim_),
        scores_(static_cast<std::size_t>(labels)) {}

  const std::vector<float>& output() const { return output_; }

  // Returns the document's loss.
  double step(const std::vector<int32_t>& rows, std::size_t begin, std::size_t end, int32_t label, float rate) {
    std::fill(hidden_.begin(), hidden_.end(), 0.0f);
    std::fill(gradient_.begin(), gradient_.end(), 0.0f);
    for (std::size_t i = begin; i < end; ++i) {
      // The rows of the next documents, far apart in memory, are asked for a while before.
      if (i + kAhead < rows.size()) prefetch(row(rows[i + kAhead]));
      kernels_.add(hidden_.data(), reinterpret_cast<const char*>(row(rows[i])), dim_);
    }
    const auto share = static_cast<float>(1.0 / static_cast<double>(end - begin));
    for (float& value : hidden_) value *= share;
    for (std::size_t i = 0; i < scores_.size(); ++i) scores_[i] = kernels_.dot(hidden_.data(), bytes(i), dim_);
    const auto own = static_cast<std::size_t>(label);
    double loss = 0;
    if (one_against_all_) {
      for (std::size_t i = 0; i < scores_.size(); ++i) {
        scores_[i] = static_cast<float>(1 / (1 + exponential(-double{scores_[i]})));
        loss -= logarithm((i == own ? double{scores_[i]} : 1 - double{scores_[i]}) + 1e-5);
      }
    } else {
      kernels_.softmax(scores_.data(), scores_.size());
      loss = -logarithm(double{scores_[own]} + 1e-5);
    }
    for (std::size_t i = 0; i < scores_.size(); ++i) {
      const float alpha = rate * ((i == own ? 1.0f : 0.0f) - scores_[i]);
      float* const weights = output_.data() + i * dim_;
      kernels_.add_scaled(gradient_.data(), weights, alpha, dim_);
      kernels_.add_scaled(weights, hidden_.data(), alpha, dim_);
    }
    for (float& value : gradient_) value *= share;
    for (std::size_t i = begin; i < end; ++i) {
      kernels_.add(row(rows[i]), reinterpret_cast<const char*>(gradient_.data()), dim_);
    }
    return loss;
  }

 private:
  static constexpr std::size_t kAhead = 24;
  float* row(int32_t number) const { return input_ + static_cast<std::size_t>(number) * dim_; }
  const char* bytes(std::size_t label) const { return reinterpret_cast<const char*>(output_.data() + label * dim_); }

  const Kernels& kernels_;
  bool one_against_all_;
  std::size_t dim_;
  float* input_;
  std::vector<float> output_;
  std::vector<float> hidden_;
  std::vector<float> gradient_;
  std::vector<float> scores_;
};

}  // namespace

void train(const std::vector<Labelled>& documents, const TrainingOptions& options, const std::string& path,
           std::vector<double>& losses) {
  Settings settings = options.settings;
  if (settings.maxn == 0 && settings.word_ngrams < 2) settings.bucket = 0;
  std::vector<Entry> labels;
  for (const Labelled& side : documents) labels.push_back({side.label, static_cast<int64_t>(side.texts.size())});
  std::stable_sort(labels.begin(), labels.end(), [](const Entry& a, const Entry& b) { return a.count > b.count; });
  std::vector<Document> all;
  for (const Labelled& side : documents) {
    const auto at = std::find_if(labels.begin(), labels.end(), [&](const Entry& e) { return e.word == side.label; });
    for (const std::string_view text : side.texts) all.push_back({text, static_cast<int32_t>(at - labels.begin())});
  }

  int64_t tokens = 0;
  const std::vector<Entry> words = count_words(all, settings.min_count, options.threads, tokens);
  if (words.empty())
    throw Error("no word comes " + std::to_string(settings.min_count) + " times; lower min_count (--min-count)");
  tokens += static_cast<int64_t>(all.size());  // fastText counts a label before each line
  const auto dim = static_cast<std::size_t>(settings.dim);
  const std::size_t rows_of_input = words.size() + static_cast<std::size_t>(settings.bucket);

  std::vector<std::size_t> starts{0};
  const std::vector<int32_t> rows = rows_of(all, settings, words, labels, tokens, options.threads, starts);

  const AlignedFloats input = aligned_floats(rows_of_input * dim);
  parallel_for(64, options.threads, [&](std::size_t task) {
    const std::size_t size = rows_of_input * dim;
    const uint64_t stream = mixed(options.seed);
    for (std::size_t i = size * task / 64; i < size * (task + 1) / 64; ++i) {
      input.get()[i] = static_cast<float>((2 * unit(mixed(stream + i)) - 1) / static_cast<double>(dim));
    }
  });

  Steps steps(settings, input.get(), static_cast<int32_t>(labels.size()));
  std::vector<std::size_t> order(all.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const double whole = static_cast<double>(settings.epoch) * static_cast<double>(all.size());
  std::size_t done = 0;
  std::vector<int32_t> of_block;
  std::vector<std::size_t> ends;
  for (int32_t epoch = 0; epoch < settings.epoch; ++epoch) {
    const uint64_t stream = mixed(options.seed + 1) ^ mixed(static_cast<uint64_t>(epoch));
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[mixed(stream + i) % i]);
    double loss = 0;
    std::size_t counted = 0;
    // A block's rows lie one after another, so that those ahead can be asked for.
    constexpr std::size_t kBlock = 256;
    for (std::size_t block = 0; block < order.size(); block += kBlock) {
      const std::size_t block_end = std::min(order.size(), block + kBlock);
      of_block.clear();
      ends.clear();
      for (std::size_t i = block; i < block_end; ++i) {
        of_block.insert(of_block.end(), rows.begin() + static_cast<std::ptrdiff_t>(starts[order[i]]),
                        rows.begin() + static_cast<std::ptrdiff_t>(starts[order[i] + 1]));
        ends.push_back(of_block.size());
      }
      std::size_t begin = 0;
      for (std::size_t i = block; i < block_end; ++i, ++done) {
        const std::size_t end = ends[i - block];
        if (begin == end) continue;
        const auto rate = static_cast<float>(options.rate * (1 - static_cast<double>(done) / whole));
        loss += steps.step(of_block, begin, end, all[order[i]].label, rate);
        ++counted;
        begin = end;
      }
    }
    losses.push_back(loss / static_cast<double>(std::max<std::size_t>(1, counted)));
    if (!std::isfinite(losses.back())) throw Error("the weights grew beyond numbers; lower lr (--lr)");
  }
  std::ofstream out(path, std::ios::binary);
  const auto write = [&](const std::string& head, const float* numbers, std::size_t count) {
    out.write(head.data(), static_cast<std::streamsize>(head.size()));
    out.write(reinterpret_cast<const char*>(numbers), static_cast<std::streamsize>(count * sizeof(float)));
  };
  write(file_head(settings, words, labels, tokens, nullptr) +
            matrix_head(static_cast<int64_t>(rows_of_input), settings.dim),
        input.get(), rows_of_input * dim);
  write(matrix_head(static_cast<int64_t>(labels.size()), settings.dim), steps.output().data(), steps.output().size());
  out.close();
  if (!out) throw Error(path + ": can't be written; make room on the disk, or choose another place");
}

}  // namespace smolfast::fasttext
