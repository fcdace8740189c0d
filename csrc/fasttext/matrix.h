// A matrix of a model file, read where it lies: fp32, or product-quantised (Jégou et al. 2011) as fastText writes it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/prefetch.h"
#include "fasttext/kernels.h"

namespace smolfast::fasttext {

class Reader;

class Matrix {
 public:
  // Reads one; `what` is what errors call it. Throws Error for what the file can't hold.
  static Matrix read(Reader& reader, bool quantised, const char* what);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  bool quantised() const { return codes_ != nullptr; }
  // All rows, one after another, not aligned; of a quantised matrix null.
  const char* numbers() const { return values_; }

  // sum += each of the rows, in order. `scratch` has room for a row.
  void add_rows(const Kernels& k, const int32_t* rows, std::size_t count, float* sum, float* scratch) const;
  // row · vector
  float dot(const Kernels& k, int64_t row, const float* vector, float* scratch) const {
    const auto size = static_cast<std::size_t>(cols_);
    if (!quantised()) return k.dot(vector, values_ + row * cols_ * 4, size);
    decode(row, scratch);
    return k.dot(vector, reinterpret_cast<const char*>(scratch), size) * norm(row);
  }
  // The same summed one after the other, as fastText does.
  float dot_in_order(int64_t row, const float* vector, float* scratch) const;
  // The row itself into `out`.
  void row_into(int64_t row, float* out) const;

  void prefetch_row(int64_t row) const {
    if (quantised()) return prefetch(codes_ + row * parts_);
    const char* const at = values_ + row * cols_ * 4;
    const int64_t bytes = cols_ * 4;
    for (int64_t line = 0; line < bytes; line += 64) prefetch(at + line);
    prefetch(at + bytes - 1);
  }

 private:
  // A quantised row without its norm.
  void decode(int64_t row, float* out) const;
  float norm(int64_t row) const { return norm_codes_ == nullptr ? 1.0f : norms_[norm_codes_[row]]; }

  int64_t rows_ = 0;
  int64_t cols_ = 0;
  const char* values_ = nullptr;  // fp32 numbers, not aligned
  const uint8_t* codes_ = nullptr;
  const uint8_t* norm_codes_ = nullptr;
  int64_t parts_ = 0;      // codes of a row
  int64_t part_size_ = 0;  // numbers that a code stands for
  int64_t last_size_ = 0;  // the same for the last code
  std::vector<float> centroids_;
  std::array<float, 256> norms_{};
};

}  // namespace smolfast::fasttext
