// What stands in a model file before and between its matrices.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fasttext/model.h"

namespace smolfast::fasttext {

struct Entry {
  std::string_view word;
  int64_t count;
};

template <typename Number>
void put(std::string& bytes, Number number) {
  bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
}

// A bucket of n-grams, and its row behind those of the words.
using KeptRow = std::pair<int32_t, int32_t>;

// All before the input matrix. `kept` is null unless the n-grams were pruned.
std::string file_head(const Settings& settings, const std::vector<Entry>& words, const std::vector<Entry>& labels,
                      int64_t tokens, const std::vector<KeptRow>* kept);

// What comes before the numbers of a matrix of fp32, with the flag before it.
std::string matrix_head(int64_t rows, int64_t cols);

}  // namespace smolfast::fasttext
