// Product quantisation (Jégou, Douze, Schmid 2011) as fastText has it: a row is cut into parts, and each part is
// replaced by the nearest of 256 centroids that k-means found.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace smolfast::fasttext {

struct Quantised {
  std::string bytes;  // of the matrix in a model file, with the flag before it
  double error;       // the squares of what was lost, as a share of all squares
};

// The matrix of `rows` · `cols` numbers, needn't be aligned, in parts of `part_size`. `norms` takes each row's length
// out first, and quantises it apart. The result depends neither on `threads` nor on the CPU. Throws Error for fewer
// rows than 256 or numbers that are none; `what` names the matrix, and `remedy` says what to do about few rows.
Quantised quantise(const char* values, int64_t rows, int64_t cols, int64_t part_size, bool norms, int threads,
                   const std::string& what, const std::string& remedy);

}  // namespace smolfast::fasttext
