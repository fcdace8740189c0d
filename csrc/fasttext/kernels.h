// The loops over floats and bytes that exist once per instruction set. All give the same bits: products and sums are
// never fused, and a dot product is summed in sixteen lanes whatever the width of a vector.
#pragma once

#include <cstddef>
#include <cstdint>

namespace smolfast::fasttext {

// Quantised rows whose codes each stand for two numbers. `norm_codes` may be null.
struct CodedRows {
  const uint8_t* codes;
  std::size_t parts;       // codes of a row, an even number
  const float* centroids;  // of each part 256 times two numbers
  const uint8_t* norm_codes;
  const float* norms;
  float norm(int32_t row) const { return norm_codes == nullptr ? 1.0f : norms[norm_codes[row]]; }
};

struct Kernels {
  // sum[i] += row[i]; `row` needn't be aligned.
  void (*add)(float* sum, const char* row, std::size_t size);
  // sum += each of these rows, in order.
  void (*add_all)(float* sum, const float* const* rows, std::size_t count, std::size_t size);
  // sum[i] += scale * row[i]
  void (*add_scaled)(float* sum, const float* row, float scale, std::size_t size);
  // Σ left[i] · right[i]; `right` needn't be aligned.
  float (*dot)(const float* left, const char* right, std::size_t size);
  // sum += each of these rows, in order.
  void (*add_coded)(const CodedRows& coded, const int32_t* rows, std::size_t count, float* sum);
  // The softmax of `size` numbers, in place.
  void (*softmax)(float* values, std::size_t size);
  // A bit for each of 64 bytes: those that part words for fastText, U+0000, U+0009–000D and U+0020.
  uint64_t (*separators)(const char* block);
  // Which of 256 points of `size` numbers is nearest to this one, the first of equals. `points` holds the first numbers
  // of all, then the second ones, ….
  uint8_t (*nearest)(const float* point, const float* points, std::size_t size);
};

// The kernels of active_isa().
const Kernels& kernels();

}  // namespace smolfast::fasttext
