// First the logits, chunk by chunk of the vocabulary, with running statistics of each chunk; then, slice by slice, what
// fits the cache: the gradients of a slice's logits, and their products with its rows of the unembedding and with the
// hidden states. So logits go to memory once and come back once, and nothing else of their size exists.
#include "loss/sweep.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "base/aligned.h"
#include "base/bf16.h"
#include "base/prefetch.h"
#include "base/threads.h"
#include "base/vector_loops.h"
#include "loss/kernels.h"

namespace smolfast::loss {
namespace {

// Columns of a slice, of bf16 twice as many: whole strips for every kernel. Its gradients for 512 rows are 192 KiB,
// which stay in the second cache with the hidden states; 64 or 128 columns take up to 2 % longer.
constexpr Index kSlice = 96;
constexpr Index kChunk = 8;  // slices whose sums are taken by themselves, so that errors don't grow with the width
// Parts of the vocabulary with sums of their own for the gradients of the hidden states, and the fewest slices of one.
constexpr Index kParts = 8, kLeastSlices = 4;

Index ceil_div(Index count, Index by) {
  return (count + by - 1) / by;
}
Index round_up(Index count, Index to) {
  return ceil_div(count, to) * to;
}

// Uninitialized units that begin with a cache line.
template <class UNIT>
class Units {
 public:
  explicit Units(Index count) : memory_(aligned_floats(count)) {}
  UNIT* get() const { return reinterpret_cast<UNIT*>(memory_.get()); }

 private:
  static_assert(sizeof(UNIT) == sizeof(float));
  AlignedFloats memory_;
};

// Memory that is asked for before it is needed, some lines at a time, so that products need not wait for it.
class Ahead {
 public:
  static constexpr Index kLine = 64;

  // `rows` rows of `width` numbers, of which some may lie between two.
  template <class NUMBER>
  void add(const NUMBER* from, Index rows, Index stride, Index width) {
    if (rows <= 0) return;
    const char* at = reinterpret_cast<const char*>(from);
    regions_[count_++] = {at, at + ((rows - 1) * stride + width) * sizeof(NUMBER)};
    lines_ += ceil_div(regions_[count_ - 1].end - at, kLine);
  }
  // From now on all is asked for in so many steps.
  void split(Index steps) { share_ = ceil_div(lines_, std::max<Index>(steps, 1)); }
  void step() {
    for (Index line = 0; line < share_ && now_ < count_; ++line) {
      prefetch(regions_[now_].at);
      regions_[now_].at += kLine;
      if (regions_[now_].at >= regions_[now_].end) ++now_;
    }
  }

 private:
  struct Region {
    const char *at, *end;
  };
  Region regions_[3] = {};
  Index count_ = 0, now_ = 0, lines_ = 0, share_ = 0;
};

// A term of a gradient, at a row and column of its own.
struct Pair {
  Index column, row;
  float value;
};

template <class T>
class Sweep {
 public:
  Sweep(const Factors<T>& factors, const Terms& terms, const Statistics& statistics, T* logits, const Into<T>& into,
        int threads)
      : factors_(factors),
        terms_(terms),
        statistics_(statistics),
        logits_(logits),
        into_(into),
        threads_(threads),
        count_(factors.rows),
        vocabulary_(factors.vocabulary),
        width_(factors.width),
        stored_(stored_rows<T>(factors.rows)) {}

  void run() {
    pack_hidden();
    parallel_for(ceil_div(vocabulary_, chunk_), threads_, [this](std::size_t at) { multiply(at); }, Threads::kOpenMp);
    parallel_for(stored_ / panel_, threads_, [this](std::size_t at) { summarize(at); }, Threads::kOpenMp);
    if (into_.hidden == nullptr && into_.weight == nullptr && into_.bias == nullptr) return;
    sort_pairs();
    parallel_for(parts_, threads_, [this](std::size_t part) { differentiate(part); }, Threads::kOpenMp);
    if (into_.hidden == nullptr) return;
    parallel_for(stored_ / panel_, threads_, [this](std::size_t at) { add_parts(at); }, Threads::kOpenMp);
  }

 private:
  using Unit = typename Kernel<T>::Unit;
  static constexpr Index kPair = Kernel<T>::kPair, kSize = sizeof(T);

  const Factors<T>& factors_;
  const Terms& terms_;
  const Statistics& statistics_;
  T* logits_;  // [vocabulary, stored rows]
  const Into<T>& into_;
  const int threads_;
  const Kernel<T>& kernel_ = *kernel<T>();
  const Index strip_ = kernel_.rows, panel_ = kernel_.panel;
  const Index count_, vocabulary_, width_, stored_;
  const Index depth_ = ceil_div(width_, kPair), wide_ = ceil_div(width_, panel_);  // units, and panels, of the width
  const Index slice_ = kPair * kSlice, chunk_ = kChunk * slice_;
  const Index slices_ = ceil_div(vocabulary_, slice_);
  const Index parts_ = std::min(ceil_div(slices_, kLeastSlices), std::max<Index>(threads_, kParts));

  // The hidden states twice: panels of rows [width, panel], and panels of the width [rows, panel].
  Units<Unit> turned_{stored_ * depth_}, along_{wide_ * stored_ / kPair * panel_};
  Units<float> statistics_of_chunks_{3 * ceil_div(vocabulary_, chunk_) * stored_};
  Units<float> slopes_{3 * stored_};
  Units<float> sums_{into_.hidden == nullptr ? 0 : parts_ * wide_ * stored_ * panel_};  // of the parts, panel by panel
  std::vector<Pair> pairs_{};
  std::vector<Index> first_pair_{};  // of each slice

  const T* hidden(Index row) const { return factors_.hidden + row * factors_.hidden_stride; }
  const T* weight(Index column) const { return factors_.weight + column * factors_.weight_stride; }
  float* slopes(Index which) const { return slopes_.get() + which * stored_; }
  Running running(Index chunk, Index row) const {
    float* at = statistics_of_chunks_.get() + 3 * chunk * stored_ + row;
    return {at, at + stored_, at + 2 * stored_};
  }

  // Rows of a matrix as panels of its width, each [rows, panel], in units of kPair rows. `padded` is the rows that the
  // panels are there for, those from `rows` on 0.
  void pack(const T* from, Index stride, Index rows, Index padded, Unit* to) const {
    const Index steps = padded / kPair;
    for (Index first = 0; first < width_; first += panel_, to += steps * panel_) {
      const Index count = std::min(panel_, width_ - first);
      for (Index step = 0; step < steps; ++step) {
        Unit* at = to + step * panel_;
        const T* row = from + step * kPair * stride + first;
        const Index there = std::clamp<Index>(rows - step * kPair, 0, kPair);
        if (there < kPair || count < panel_) std::fill_n(at, panel_, Unit{});
        if constexpr (kPair == 1) {
          if (there > 0) std::copy_n(row, count, at);
        } else if (there == kPair) {
          const T* next = row + stride;
#pragma omp simd
          for (Index c = 0; c < count; ++c) at[c] = static_cast<Unit>(row[c]) | static_cast<Unit>(next[c]) << 16;
        } else if (there == 1) {
          for (Index c = 0; c < count; ++c) at[c] = row[c];
        }
      }
    }
  }

  void pack_hidden() {
    pack(factors_.hidden, factors_.hidden_stride, count_, stored_, along_.get());
    Unit* to = turned_.get();
    for (Index first = 0; first < stored_; first += panel_, to += depth_ * panel_) {
      for (Index r = 0; r < panel_; ++r) {
        if (first + r >= count_) {
          for (Index d = 0; d < depth_; ++d) to[d * panel_ + r] = Unit{};
          continue;
        }
        const T* row = hidden(first + r);
        if constexpr (kPair == 1) {
          for (Index d = 0; d < depth_; ++d) to[d * panel_ + r] = row[d];
        } else {
          for (Index d = 0; d < width_ / 2; ++d) {
            to[d * panel_ + r] = static_cast<Unit>(row[2 * d]) | static_cast<Unit>(row[2 * d + 1]) << 16;
          }
          if (width_ % 2 != 0) to[width_ / 2 * panel_ + r] = row[width_ - 1];
        }
      }
    }
  }

  // Logits of a chunk of the vocabulary.
  void multiply(Index chunk) {
    const Index begin = chunk * chunk_, end = std::min(begin + chunk_, vocabulary_);
    const Running all = running(chunk, 0);
    std::fill_n(all.highest, stored_, std::numeric_limits<float>::lowest());
    std::fill_n(all.sum_of_exponentials, stored_, 0.0f);
    std::fill_n(all.sum, stored_, 0.0f);
    // Rows of the strip lie apart by more than a power of two, so that they don't fall into the same cache lines.
    const Index stride = depth_ + 16;
    const Units<Unit> strip(strip_ * stride);
    std::fill_n(strip.get(), strip_ * stride, Unit{});
    const Units<float> tile(strip_ * panel_);
    for (Index first = begin; first < end; first += strip_) {
      const Index columns = std::min(strip_, end - first);
      for (Index c = 0; c < columns; ++c) {
        std::memcpy(strip.get() + c * stride, weight(first + c), width_ * sizeof(T));
      }
      Ahead ahead;
      ahead.add(weight(first + strip_), std::min(strip_, vocabulary_ - first - strip_), factors_.weight_stride, width_);
      ahead.split(stored_ / panel_);
      for (Index r = 0; r < stored_; r += panel_) {
        ahead.step();
        for (Index c = 0; c < columns; ++c) {
          const char* at = reinterpret_cast<const char*>(logits_ + (first + c) * stored_ + r);
          for (Index byte = 0; byte < panel_ * kSize; byte += Ahead::kLine) prefetch_to_write(at + byte);
        }
        kernel_.multiply(strip.get(), stride, turned_.get() + r * depth_, depth_, tile.get(), panel_, false);
        kernel_.absorb(tile.get(), columns, factors_.bias == nullptr ? nullptr : factors_.bias + first,
                       logits_ + first * stored_ + r, stored_, running(chunk, r));
      }
    }
  }

  // Statistics of a panel of rows from those of the chunks, and what their gradients are made of.
  void summarize(Index at) {
    const Index begin = at * panel_;
    for (Index r = begin; r < begin + panel_; ++r) {
      float highest = std::numeric_limits<float>::lowest(), total = 0.0f, sum = 0.0f;
      const Index chunks = ceil_div(vocabulary_, chunk_);
      for (Index chunk = 0; chunk < chunks; ++chunk) highest = std::max(highest, *running(chunk, r).highest);
      for (Index chunk = 0; chunk < chunks; ++chunk) {
        const Running each = running(chunk, r);
        total += *each.sum_of_exponentials * exponential(*each.highest - highest);
        sum += *each.sum;
      }
      const bool there = r < count_;
      const float lse = highest + std::log(total);
      slopes(0)[r] = highest;
      slopes(1)[r] = there ? (terms_.partition[r] + terms_.partition_lse[r] * lse) / total : 0.0f;
      slopes(2)[r] = there ? terms_.uniform[r] : 0.0f;
      if (!there) continue;
      statistics_.lse[r] = lse;
      statistics_.highest[r] = highest;
      statistics_.sum[r] = sum;
      for (std::size_t e = r * terms_.pairs; e < (r + 1) * terms_.pairs; ++e) {
        statistics_.at_columns[e] = widen(logits_[terms_.columns[e] * stored_ + r]);
      }
    }
  }

  // Terms by slice, and by column and row within it.
  void sort_pairs() {
    const Index count = count_ * static_cast<Index>(terms_.pairs);
    first_pair_.assign(slices_ + 1, 0);
    for (Index e = 0; e < count; ++e) ++first_pair_[terms_.columns[e] / slice_ + 1];
    std::partial_sum(first_pair_.begin(), first_pair_.end(), first_pair_.begin());
    pairs_.resize(count);
    std::vector<Index> next(first_pair_.begin(), first_pair_.end() - 1);
    for (Index e = 0; e < count; ++e) {
      const Index column = terms_.columns[e];
      pairs_[next[column / slice_]++] = {column, e / static_cast<Index>(terms_.pairs), terms_.values[e]};
    }
    for (Index s = 0; s < slices_; ++s) {
      std::stable_sort(
          pairs_.begin() + first_pair_[s], pairs_.begin() + first_pair_[s + 1],
          [](const Pair& a, const Pair& b) { return a.column != b.column ? a.column < b.column : a.row < b.row; });
    }
  }

  // What a part of the vocabulary gives to the gradients.
  void differentiate(Index part) {
    const Index along_stride = stored_ / kPair + 16, across_stride = kPair == 1 ? along_stride : stored_ + 16;
    const Units<Unit> along(slice_ * along_stride), across(kPair == 1 ? 0 : slice_ / 2 * across_stride);
    const Gradients<Unit> gradients{along.get(), along_stride, kPair == 1 ? along.get() : across.get(), across_stride};
    const Units<Unit> rows(into_.hidden == nullptr ? 0 : wide_ * panel_ * slice_ / kPair);
    float* sums = sums_.get() + part * wide_ * stored_ * panel_;
    if (into_.hidden != nullptr) std::fill_n(sums, wide_ * stored_ * panel_, 0.0f);
    for (Index slice = part * slices_ / parts_; slice < (part + 1) * slices_ / parts_; ++slice) {
      const Index first = slice * slice_, columns = std::min(slice_, vocabulary_ - first);
      fill(slice, columns, gradients);
      if (into_.bias != nullptr) add_bias(first, columns, gradients);
      if (into_.hidden != nullptr) {
        const Index padded = round_up(columns, kPair);
        pack(weight(first), factors_.weight_stride, columns, padded, rows.get());
        Ahead ahead;
        if (into_.weight != nullptr) ahead.add(into_.weight + first * width_, columns, width_, width_);
        const Index next = first + slice_, more = std::min(slice_, vocabulary_ - next);
        ahead.add(weight(next), more, factors_.weight_stride, width_);
        ahead.add(logits_ + next * stored_, more, stored_, stored_);
        add_hidden(gradients, rows.get(), padded / kPair, sums, ahead);
      }
      if (into_.weight != nullptr) add_weight(first, columns, gradients);
    }
  }

  // Gradients of a slice of logits; those of columns that fill its last strip are 0.
  void fill(Index slice, Index columns, const Gradients<Unit>& to) const {
    const T* logits = logits_ + slice * slice_ * stored_;
    const Slopes slope{slopes(0), slopes(1), slopes(2)};
    kernel_.differentiate(logits, columns, stored_, slope, to);
    for (Index c = round_up(columns, kPair); c < round_up(columns, strip_); ++c) {
      std::fill_n(to.along + c * to.along_stride, stored_ / kPair, Unit{});
    }
    const Index end = first_pair_[slice + 1];
    for (Index e = first_pair_[slice]; e < end;) {
      const auto [column, row, _] = pairs_[e];
      float value = 0.0f;
      for (; e < end && pairs_[e].column == column && pairs_[e].row == row; ++e) value += pairs_[e].value;
      const Index c = column - slice * slice_;
      const float share = exponential(widen(logits[c * stored_ + row]) - slope.highest[row]);
      T gradient;
      narrow(slope.scale[row] * share - slope.uniform[row] + value, gradient);
      place(gradient, to.along + c * to.along_stride, row);
      if constexpr (kPair > 1) place(gradient, to.across + c / kPair * to.across_stride, kPair * row + c % kPair);
    }
  }

  static void place(T value, Unit* units, Index at) {
    std::memcpy(reinterpret_cast<char*>(units) + at * sizeof(T), &value, sizeof(T));
  }

  void add_bias(Index first, Index columns, const Gradients<Unit>& gradients) const {
    for (Index c = 0; c < columns; ++c) {
      const Unit* row = gradients.along + c * gradients.along_stride;
      float sum = 0.0f;
      if constexpr (kPair == 1) {
#pragma omp simd reduction(+ : sum)
        for (Index r = 0; r < stored_; ++r) sum += row[r];
      } else {
#pragma omp simd reduction(+ : sum)
        for (Index r = 0; r < stored_ / 2; ++r) {
          sum += std::bit_cast<float>(row[r] << 16) + std::bit_cast<float>(row[r] & 0xFFFF0000);
        }
      }
      into_.bias[first + c] += sum;
    }
  }

  void add_hidden(const Gradients<Unit>& gradients, const Unit* rows, Index steps, float* sums, Ahead ahead) const {
    ahead.split(wide_ * (stored_ / strip_));
    for (Index p = 0; p < wide_; ++p, rows += steps * panel_) {
      for (Index r = 0; r < stored_; r += strip_) {
        ahead.step();
        kernel_.multiply_turned(gradients.across + r, gradients.across_stride, rows, steps,
                                sums + (p * stored_ + r) * panel_, panel_);
      }
    }
  }

  void add_weight(Index first, Index columns, const Gradients<Unit>& gradients) const {
    const Index steps = stored_ / kPair;
    const Units<float> edge(strip_ * panel_);
    for (Index c = 0; c < columns; c += strip_) {
      const Unit* strip = gradients.along + c * gradients.along_stride;
      const Index tall = std::min(strip_, columns - c);
      for (Index p = 0; p < wide_; ++p) {
        const Unit* panel = along_.get() + p * steps * panel_;
        float* to = into_.weight + (first + c) * width_ + p * panel_;
        const Index wide = std::min(panel_, width_ - p * panel_);
        if (tall == strip_ && wide == panel_) {
          kernel_.multiply(strip, gradients.along_stride, panel, steps, to, width_, true);
          continue;
        }
        kernel_.multiply(strip, gradients.along_stride, panel, steps, edge.get(), panel_, false);
        for (Index i = 0; i < tall; ++i) {
          for (Index j = 0; j < wide; ++j) to[i * width_ + j] += edge.get()[i * panel_ + j];
        }
      }
    }
  }

  // Gradients of a panel of hidden states: the sum over the parts, in their order.
  void add_parts(Index at) const {
    std::vector<float> sum(panel_);
    for (Index r = at * panel_; r < std::min(count_, (at + 1) * panel_); ++r) {
      for (Index p = 0; p < wide_; ++p) {
        std::fill(sum.begin(), sum.end(), 0.0f);
        for (Index part = 0; part < parts_; ++part) {
          const float* from = sums_.get() + ((part * wide_ + p) * stored_ + r) * panel_;
          for (Index j = 0; j < panel_; ++j) sum[j] += from[j];
        }
        T* to = into_.hidden + r * width_ + p * panel_;
        for (Index j = 0; j < std::min(panel_, width_ - p * panel_); ++j) narrow(sum[j], to[j]);
      }
    }
  }
};

}  // namespace

template <class T>
bool sweeps() {
  return kernel<T>() != nullptr;
}

template <class T>
std::size_t stored_rows(std::size_t rows) {
  const Kernel<T>& of = *kernel<T>();
  return round_up(static_cast<Index>(rows), std::lcm(of.rows, of.panel));
}

template <class T>
void sweep(const Factors<T>& factors, const Terms& terms, const Statistics& statistics, T* logits, const Into<T>& into,
           int threads) {
  if (factors.rows > 0) Sweep<T>(factors, terms, statistics, logits, into, threads).run();
}

#define SMOLFAST_SWEEP(T)                                                                                     \
  template bool sweeps<T>();                                                                                  \
  template std::size_t stored_rows<T>(std::size_t rows);                                                      \
  template void sweep(const Factors<T>& factors, const Terms& terms, const Statistics& statistics, T* logits, \
                      const Into<T>& into, int threads);
SMOLFAST_SWEEP(float)
SMOLFAST_SWEEP(std::uint16_t)
#undef SMOLFAST_SWEEP

}  // namespace smolfast::loss
