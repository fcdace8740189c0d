#include "fasttext/quantizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "base/threads.h"
#include "fasttext/file_head.h"
#include "fasttext/kernels.h"
#include "fasttext/random.h"

namespace smolfast::fasttext {
namespace {

constexpr std::size_t kPoints = 256;              // centroids of a part: a code is a byte
constexpr std::size_t kMostSeen = 256 * kPoints;  // rows that k-means sees
constexpr std::size_t kMostCodes = INT32_MAX;
constexpr int kRounds = 25;
constexpr float kApart = 1e-7f;
constexpr uint64_t kSeed = 1234;  // fastText's

// 256 points of `size` numbers, and the same transposed for the kernel.
class Codebook {
 public:
  explicit Codebook(std::size_t size) : size_(size), points_(kPoints * size), by_number_(points_.size()) {}

  std::size_t size() const { return size_; }
  float* point(std::size_t code) { return points_.data() + code * size_; }
  const float* point(std::size_t code) const { return points_.data() + code * size_; }
  const std::vector<float>& points() const { return points_; }
  void transpose() {
    for (std::size_t code = 0; code < kPoints; ++code) {
      for (std::size_t i = 0; i < size_; ++i) by_number_[i * kPoints + code] = points_[code * size_ + i];
    }
  }
  uint8_t nearest(const Kernels& k, const float* point) const { return k.nearest(point, by_number_.data(), size_); }

 private:
  std::size_t size_;
  std::vector<float> points_;
  std::vector<float> by_number_;
};

class Draws {
 public:
  explicit Draws(uint64_t stream) : stream_(mixed(kSeed ^ mixed(stream))) {}
  uint64_t next() { return mixed(stream_ + count_++); }
  // A number below `end`; the bias is below 2⁻³².
  std::size_t below(std::size_t end) { return static_cast<std::size_t>(next() % end); }

 private:
  uint64_t stream_;
  uint64_t count_ = 0;
};

// The first `count` of a permutation of 0 to all − 1.
std::vector<int64_t> drawn(std::size_t count, std::size_t all, Draws& draws) {
  std::vector<int64_t> order(all);
  std::iota(order.begin(), order.end(), int64_t{0});
  for (std::size_t i = 0; i < count && i + 1 < all; ++i) std::swap(order[i], order[i + draws.below(all - i)]);
  order.resize(count);
  return order;
}

// A centroid that no point is nearest to takes half of the points of another, chosen by how many it has.
void fill_empty(Codebook& book, std::vector<int64_t>& members, std::size_t count, Draws& draws) {
  for (std::size_t code = 0; code < kPoints; ++code) {
    if (members[code] != 0) continue;
    std::size_t other = 0;
    while (unit(draws.next()) * static_cast<double>(count - kPoints) >= static_cast<double>(members[other] - 1)) {
      other = (other + 1) % kPoints;
    }
    std::copy_n(book.point(other), book.size(), book.point(code));
    for (std::size_t i = 0; i < book.size(); ++i) {
      const float apart = i % 2 == 0 ? -kApart : kApart;
      book.point(code)[i] += apart;
      book.point(other)[i] -= apart;
    }
    members[code] = members[other] / 2;
    members[other] -= members[code];
  }
}

// Lloyd's k-means of points that lie one after another.
Codebook k_means(const Kernels& k, const std::vector<float>& points, std::size_t size, Draws& draws) {
  Codebook book(size);
  const std::size_t count = points.size() / size;
  const std::vector<int64_t> first = drawn(kPoints, count, draws);
  for (std::size_t code = 0; code < kPoints; ++code) {
    std::copy_n(points.data() + static_cast<std::size_t>(first[code]) * size, size, book.point(code));
  }
  std::vector<uint8_t> codes(count);
  std::vector<int64_t> members(kPoints);
  for (int round = 0; round < kRounds; ++round) {
    book.transpose();
    for (std::size_t i = 0; i < count; ++i) codes[i] = book.nearest(k, points.data() + i * size);
    std::fill_n(book.point(0), kPoints * size, 0.0f);
    std::fill(members.begin(), members.end(), 0);
    for (std::size_t i = 0; i < count; ++i) {
      float* const to = book.point(codes[i]);
      for (std::size_t j = 0; j < size; ++j) to[j] += points[i * size + j];
      ++members[codes[i]];
    }
    for (std::size_t code = 0; code < kPoints; ++code) {
      if (members[code] == 0) continue;
      for (std::size_t j = 0; j < size; ++j) book.point(code)[j] /= static_cast<float>(members[code]);
    }
    fill_empty(book, members, count, draws);
  }
  book.transpose();
  return book;
}

class Rows {
 public:
  Rows(const char* values, int64_t rows, int64_t cols)
      : values_(values), rows_(static_cast<std::size_t>(rows)), cols_(static_cast<std::size_t>(cols)) {}

  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  // The numbers of a row from `first` on, divided by its norm where there are norms.
  void copy(std::size_t row, std::size_t first, std::size_t size, float* out) const {
    std::memcpy(out, values_ + (row * cols_ + first) * sizeof(float), size * sizeof(float));
    if (norms_.empty() || norms_[row] == 0) return;
    for (std::size_t i = 0; i < size; ++i) out[i] /= norms_[row];
  }
  const std::vector<float>& norms() const { return norms_; }

  // Takes every row's length, or only looks for numbers that are none.
  void measure(bool keep, int threads, const std::string& what) {
    std::vector<float> norms(rows_);
    for_blocks(rows_, threads, [&](std::size_t begin, std::size_t end) {
      std::vector<float> row(cols_);
      for (std::size_t i = begin; i < end; ++i) {
        copy(i, 0, cols_, row.data());
        double squares = 0;
        for (const float value : row) squares += double{value} * double{value};
        norms[i] = static_cast<float>(std::sqrt(squares));
        if (!std::isfinite(norms[i])) {
          throw Error(what + ": row " + std::to_string(i) +
                      " isn't of finite numbers; make or download the model again");
        }
      }
    });
    if (keep) norms_ = std::move(norms);
  }

  template <typename Body>
  static void for_blocks(std::size_t rows, int threads, const Body& body) {
    constexpr std::size_t kBlock = 4096;
    parallel_for((rows + kBlock - 1) / kBlock, threads,
                 [&](std::size_t task) { body(task * kBlock, std::min(rows, (task + 1) * kBlock)); });
  }

 private:
  const char* values_;
  std::size_t rows_;
  std::size_t cols_;
  std::vector<float> norms_;
};

Codebook codebook_of(const Rows& rows, std::size_t first, std::size_t size, uint64_t stream) {
  Draws draws(stream);
  const std::size_t count = std::min(rows.rows(), kMostSeen);
  std::vector<float> points(count * size);
  const std::vector<int64_t> chosen = drawn(count, rows.rows(), draws);
  for (std::size_t i = 0; i < count; ++i) {
    rows.copy(static_cast<std::size_t>(chosen[i]), first, size, points.data() + i * size);
  }
  return k_means(kernels(), points, size, draws);
}

void put_codebooks(std::string& bytes, std::size_t cols, const std::vector<Codebook>& books) {
  put(bytes, static_cast<int32_t>(cols));
  put(bytes, static_cast<int32_t>(books.size()));
  put(bytes, static_cast<int32_t>(books.front().size()));
  put(bytes, static_cast<int32_t>(books.back().size()));
  for (const Codebook& book : books) {
    bytes.append(reinterpret_cast<const char*>(book.points().data()), book.points().size() * sizeof(float));
  }
}

}  // namespace

Quantised quantise(const char* values, int64_t row_count, int64_t col_count, int64_t part_size, bool norms, int threads,
                   const std::string& what, const std::string& remedy) {
  Rows rows(values, row_count, col_count);
  if (rows.rows() < kPoints) {
    throw Error(what + " has " + std::to_string(rows.rows()) + " rows, and quantising needs 256; " + remedy);
  }
  rows.measure(norms, threads, what);
  const std::size_t cols = rows.cols();
  const auto size = std::min(static_cast<std::size_t>(part_size), cols);
  const std::size_t parts = (cols + size - 1) / size;

  if (rows.rows() > kMostCodes / parts) {
    throw Error(what + " would need " + std::to_string(rows.rows() * parts) +
                " codes, more than the format's 2^31; raise dsub (--dsub) or set cutoff (--cutoff)");
  }

  std::vector<Codebook> books;
  for (std::size_t part = 0; part < parts; ++part) books.emplace_back(std::min(size, cols - part * size));
  std::vector<Codebook> norm_books(norms ? 1 : 0, Codebook(1));
  parallel_for(parts + norm_books.size(), threads, [&](std::size_t part) {
    if (part < parts) {
      books[part] = codebook_of(rows, part * size, books[part].size(), part);
    } else {
      const Rows lengths(reinterpret_cast<const char*>(rows.norms().data()), row_count, 1);
      norm_books[0] = codebook_of(lengths, 0, 1, UINT64_MAX);
    }
  });

  std::vector<uint8_t> codes(rows.rows() * parts);
  std::vector<uint8_t> norm_codes(norms ? rows.rows() : 0);
  std::vector<std::pair<double, double>> lost(rows.rows());  // squares of what is lost, and of all
  Rows::for_blocks(rows.rows(), threads, [&](std::size_t begin, std::size_t end) {
    const Kernels& k = kernels();
    std::vector<float> row(cols);
    for (std::size_t i = begin; i < end; ++i) {
      rows.copy(i, 0, cols, row.data());
      float scale = 1;
      float length = 1;
      if (norms) {
        length = rows.norms()[i];
        norm_codes[i] = norm_books[0].nearest(k, &length);
        scale = *norm_books[0].point(norm_codes[i]);
        if (length == 0) length = 1;  // such a row wasn't divided
      }
      for (std::size_t part = 0; part < parts; ++part) {
        const float* const own = row.data() + part * size;
        const uint8_t code = books[part].nearest(k, own);
        codes[i * parts + part] = code;
        for (std::size_t j = 0; j < books[part].size(); ++j) {
          const double whole = double{own[j]} * double{length};
          const double apart = whole - double{books[part].point(code)[j]} * double{scale};
          lost[i].first += apart * apart;
          lost[i].second += whole * whole;
        }
      }
    }
  });

  Quantised out{{}, 0};
  put(out.bytes, true);
  put(out.bytes, norms);
  put(out.bytes, row_count);
  put(out.bytes, col_count);
  put(out.bytes, static_cast<int32_t>(codes.size()));
  out.bytes.append(reinterpret_cast<const char*>(codes.data()), codes.size());
  put_codebooks(out.bytes, cols, books);
  if (norms) {
    out.bytes.append(reinterpret_cast<const char*>(norm_codes.data()), norm_codes.size());
    put_codebooks(out.bytes, 1, norm_books);
  }
  double apart = 0;
  double whole = 0;
  for (const auto& [of_row, squares] : lost) {
    apart += of_row;
    whole += squares;
  }
  out.error = whole > 0 ? apart / whole : 0;
  return out;
}

}  // namespace smolfast::fasttext
