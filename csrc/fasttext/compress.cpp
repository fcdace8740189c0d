#include "fasttext/compress.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "fasttext/file_head.h"
#include "fasttext/model.h"
#include "fasttext/quantizer.h"

namespace smolfast::fasttext {
namespace {

// Which rows stay: of the greatest norms, and the end of line's whatever it is, as in fastText. Words by number, then
// n-grams by norm.
std::vector<int32_t> heaviest_rows(const Model& model, int64_t cutoff, int threads) {
  const auto rows = static_cast<std::size_t>(model.input.rows());
  std::vector<float> squares(rows);
  constexpr std::size_t kBlock = 4096;
  parallel_for((rows + kBlock - 1) / kBlock, threads, [&](std::size_t task) {
    std::vector<float> row(static_cast<std::size_t>(model.settings.dim));
    for (std::size_t i = task * kBlock; i < std::min(rows, (task + 1) * kBlock); ++i) {
      model.input.row_into(static_cast<int64_t>(i), row.data());
      float sum = 0;
      for (const float value : row) {
        const float square = value * value;
        sum += square;
      }
      if (!(sum < std::numeric_limits<float>::infinity())) {
        throw Error(model.name + ": row " + std::to_string(i) +
                    " of the input matrix isn't of finite numbers; make or download the model again");
      }
      squares[i] = sum;
    }
  });
  const int32_t end_of_line = model.vocabulary.find(kEndOfLine, hash_of(kEndOfLine));
  std::vector<int32_t> order(rows);
  std::iota(order.begin(), order.end(), 0);
  const auto before = [&](int32_t a, int32_t b) {
    if ((a == end_of_line) != (b == end_of_line)) return a == end_of_line;
    const float left = squares[static_cast<std::size_t>(a)];
    const float right = squares[static_cast<std::size_t>(b)];
    return left != right ? left > right : a < b;
  };
  std::partial_sort(order.begin(), order.begin() + cutoff, order.end(), before);
  order.resize(static_cast<std::size_t>(cutoff));
  const auto words_end =
      std::stable_partition(order.begin(), order.end(), [&](int32_t row) { return row < model.vocabulary.words(); });
  std::sort(order.begin(), words_end);
  return order;
}

std::vector<Entry> entries(const Vocabulary& vocabulary, int32_t begin, int32_t end) {
  std::vector<Entry> found;
  for (int32_t id = begin; id < end; ++id) found.push_back({vocabulary.entry(id), vocabulary.count(id)});
  return found;
}

}  // namespace

Compressed compress(const std::string& from, const std::string& to, const CompressOptions& options) {
  const Model model(from);
  if (!model.supervised()) throw Error(from + ": holds vectors of words and no labels; give a supervised model");
  if (model.input.quantised()) throw Error(from + ": is quantised already; give the .bin that it was made of");
  const Vocabulary& vocabulary = model.vocabulary;
  std::vector<Entry> words = entries(vocabulary, 0, vocabulary.words());
  const std::vector<Entry> labels = entries(vocabulary, vocabulary.words(), vocabulary.words() + vocabulary.labels());
  const int64_t cols = model.input.cols();
  const int64_t row_bytes = cols * static_cast<int64_t>(sizeof(float));
  const char* values = model.input.numbers();
  int64_t rows = model.input.rows();
  std::string chosen_values;
  std::vector<KeptRow> kept;
  const bool prunes = options.cutoff > 0 && options.cutoff < rows;
  if (prunes) {
    const std::vector<int32_t> chosen = heaviest_rows(model, options.cutoff, options.threads);
    std::vector<Entry> left;
    for (const int32_t row : chosen) {
      if (row < vocabulary.words()) {
        left.push_back(words[static_cast<std::size_t>(row)]);
      } else {
        kept.emplace_back(row - vocabulary.words(), static_cast<int32_t>(kept.size()));
      }
      chosen_values.append(values + row * row_bytes, static_cast<std::size_t>(row_bytes));
    }
    words = std::move(left);
    values = chosen_values.data();
    rows = options.cutoff;
  }
  const Quantised input =
      quantise(values, rows, cols, options.part_size, options.norms, options.threads, from + ": the input matrix",
               prunes ? "raise cutoff (--cutoff)" : "use the file as it is");
  Quantised output{matrix_head(model.output.rows(), cols), 0};
  if (options.output) {
    output = quantise(model.output.numbers(), model.output.rows(), cols, 2, options.norms, options.threads,
                      from + ": the output matrix", "leave out qout (--qout)");
  } else {
    output.bytes.append(model.output.numbers(), static_cast<std::size_t>(model.output.rows() * row_bytes));
  }
  std::ofstream out(to, std::ios::binary);
  for (const std::string& part :
       {file_head(model.settings, words, labels, vocabulary.tokens(), prunes ? &kept : nullptr), input.bytes,
        output.bytes}) {
    out.write(part.data(), static_cast<std::streamsize>(part.size()));
  }
  out.close();
  if (!out) throw Error(to + ": can't be written; make room on the disk, or choose another place");
  const auto kept_words = static_cast<int64_t>(words.size());
  return {kept_words, rows - kept_words, input.error, output.error};
}

}  // namespace smolfast::fasttext
