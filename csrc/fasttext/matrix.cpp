#include "fasttext/matrix.h"

#include <cstring>
#include <string>

#include "fasttext/reader.h"

namespace smolfast::fasttext {
namespace {

constexpr int64_t kCentroids = 256;  // of each part: a code is a byte
constexpr int64_t kMostColumns = 1 << 20;

// A quantiser's sizes, checked, and its centroids.
struct Quantiser {
  int64_t parts;
  int64_t size;
  int64_t last;
  std::vector<float> centroids;
};

Quantiser read_quantiser(Reader& reader, int64_t cols, const std::string& what) {
  const int64_t dim = reader.number<int32_t>("a quantiser's dimension");
  const int64_t parts = reader.number<int32_t>("a quantiser's parts");
  const int64_t size = reader.number<int32_t>("the size of a quantiser's parts");
  const int64_t last = reader.number<int32_t>("the size of a quantiser's last part");
  if (dim != cols || parts < 1 || size < 1 || last < 1 || last > size || (parts - 1) * size + last != dim) {
    reader.fail("the quantiser of " + what + " cuts " + std::to_string(dim) + " numbers into " + std::to_string(parts) +
                " parts of " + std::to_string(size) + " and " + std::to_string(last) + ", for rows of " +
                std::to_string(cols));
  }
  Quantiser read{parts, size, last, std::vector<float>(static_cast<std::size_t>(dim * kCentroids))};
  std::memcpy(read.centroids.data(), reader.take(4 * kCentroids, dim, "a quantiser's centroids"),
              read.centroids.size() * sizeof(float));
  return read;
}

}  // namespace

Matrix Matrix::read(Reader& reader, bool quantised, const char* what) {
  Matrix matrix;
  const std::string name = what;
  const bool has_norms = quantised && reader.flag("whether norms are quantised");
  matrix.rows_ = reader.number<int64_t>((name + "'s rows").c_str());
  matrix.cols_ = reader.number<int64_t>((name + "'s columns").c_str());
  if (matrix.rows_ < 0 || matrix.cols_ < 1 || matrix.cols_ > kMostColumns) {
    reader.fail(name + " has " + std::to_string(matrix.rows_) + " rows of " + std::to_string(matrix.cols_));
  }
  if (!quantised) {
    matrix.values_ = reader.take(4 * matrix.cols_, matrix.rows_, what);
    return matrix;
  }
  const int64_t codes = reader.number<int32_t>((name + "'s codes").c_str());
  matrix.codes_ = reinterpret_cast<const uint8_t*>(reader.take(1, codes, what));
  Quantiser rows = read_quantiser(reader, matrix.cols_, name);
  if (matrix.rows_ > codes || matrix.rows_ * rows.parts != codes) {
    reader.fail(name + " has " + std::to_string(codes) + " codes for " + std::to_string(matrix.rows_) + " rows of " +
                std::to_string(rows.parts));
  }
  matrix.parts_ = rows.parts;
  matrix.part_size_ = rows.size;
  matrix.last_size_ = rows.last;
  matrix.centroids_ = std::move(rows.centroids);
  if (has_norms) {
    matrix.norm_codes_ = reinterpret_cast<const uint8_t*>(reader.take(1, matrix.rows_, (name + "'s norms").c_str()));
    const Quantiser norms = read_quantiser(reader, 1, name + "'s norms");
    std::memcpy(matrix.norms_.data(), norms.centroids.data(), sizeof matrix.norms_);
  }
  return matrix;
}

void Matrix::add_rows(const Kernels& k, const int32_t* rows, std::size_t count, float* sum, float* scratch) const {
  const auto size = static_cast<std::size_t>(cols_);
  if (!quantised()) {
    for (std::size_t i = 0; i < count; ++i) k.add(sum, values_ + rows[i] * cols_ * 4, size);
    return;
  }
  if (part_size_ != 2 || last_size_ != 2 || parts_ % 2 != 0) {
    for (std::size_t i = 0; i < count; ++i) {
      decode(rows[i], scratch);
      k.add_scaled(sum, scratch, norm(rows[i]), size);
    }
    return;
  }
  k.add_coded({codes_, static_cast<std::size_t>(parts_), centroids_.data(), norm_codes_, norms_.data()}, rows, count,
              sum);
}

void Matrix::decode(int64_t row, float* out) const {
  const uint8_t* const codes = codes_ + row * parts_;
  const float* part = centroids_.data();
  if (part_size_ == 2) {  // what fastText writes unless told otherwise
    const int64_t whole = last_size_ == 2 ? parts_ : parts_ - 1;
    for (int64_t i = 0; i < whole; ++i, part += 2 * kCentroids) std::memcpy(out + 2 * i, part + 2 * codes[i], 8);
    if (whole != parts_) out[2 * whole] = part[codes[whole]];
    return;
  }
  for (int64_t i = 0; i < parts_; ++i, part += part_size_ * kCentroids) {
    const int64_t size = i == parts_ - 1 ? last_size_ : part_size_;
    std::memcpy(out + i * part_size_, part + codes[i] * size, static_cast<std::size_t>(size) * sizeof(float));
  }
}

float Matrix::dot_in_order(int64_t row, const float* vector, float* scratch) const {
  const float* values = scratch;
  if (quantised()) {
    decode(row, scratch);
  } else {
    std::memcpy(scratch, values_ + row * cols_ * 4, static_cast<std::size_t>(cols_) * sizeof(float));
  }
  float sum = 0;
  for (int64_t i = 0; i < cols_; ++i) {
    const float product = values[i] * vector[i];
    sum += product;
  }
  return quantised() ? sum * norm(row) : sum;
}

void Matrix::row_into(int64_t row, float* out) const {
  const auto size = static_cast<std::size_t>(cols_);
  if (!quantised()) {
    std::memcpy(out, values_ + row * cols_ * 4, size * sizeof(float));
    return;
  }
  decode(row, out);
  for (std::size_t i = 0; i < size; ++i) out[i] *= norm(row);
}

}  // namespace smolfast::fasttext
