// A model file made small: the rows that matter least thrown out, and the rest product-quantised.
#pragma once

#include <cstdint>
#include <string>

namespace smolfast::fasttext {

struct CompressOptions {
  int64_t cutoff = 0;     // rows of words and n-grams that stay: those of the greatest norm; 0 for all
  int64_t part_size = 2;  // numbers that a code stands for
  bool norms = false;     // quantise rows' norms apart
  bool output = false;    // quantise the labels' rows too
  int threads = 0;        // the file doesn't depend on it
};

struct Compressed {
  int64_t words;        // that stay
  int64_t ngrams;       // rows of n-grams that stay
  double error;         // the squares of what the input matrix lost by codes, as a share of all
  double output_error;  // the same of the output matrix
};

// Reads the model at `from` and writes `to`, which fastText loads. Throws Error for a model of words, or one that is
// quantised, too small or damaged; or a file that can't be written.
Compressed compress(const std::string& from, const std::string& to, const CompressOptions& options);

}  // namespace smolfast::fasttext
