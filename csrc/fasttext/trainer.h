// Trains supervised models with fastText's features and steps, into a file that fastText loads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fasttext/model.h"

namespace smolfast::fasttext {

struct TrainingOptions {
  Settings settings;  // dim, epoch, min_count, word_ngrams, loss, bucket, minn and maxn count
  double rate = 0.1;  // of learning; it falls to 0
  uint64_t seed = 0;  // of the first weights and of the documents' order
  int threads = 0;    // for all but the steps, which follow one another
};

// Documents of one label.
struct Labelled {
  std::string label;  // with fastText's prefix
  std::vector<std::string_view> texts;
};

// Writes a model file. Steps are taken one after another, as fastText does with one thread: so the result depends
// on the seed alone. `losses` gets the mean loss of each epoch. Throws Error for less than two labels with documents,
// no words that are frequent enough, weights that grow beyond numbers, or a file that can't be written.
void train(const std::vector<Labelled>& documents, const TrainingOptions& options, const std::string& path,
           std::vector<double>& losses);

}  // namespace smolfast::fasttext
