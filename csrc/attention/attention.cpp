// A task is a part of the query rows of one sequence and key head. It packs the keys and values that they see, and goes
// over blocks of rows, all query heads of the group together, so that the scores of a block stay in the cache.
#include "attention/attention.h"

#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "attention/panels.h"
#include "attention/rows.h"
#include "base/aligned.h"
#include "base/threads.h"

// This file is compiled with contraction of a · b + c into one instruction, which the ISO mode of the rest forbids.

namespace smolfast::attention {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr Index kBlock = 64;  // query rows of a block: four times 64 KiB of scores over 1,024 keys

// On the way back a sequence is cut into parts of so many pairs of rows and keys, but not into more: each has sums for
// all keys that it sees.
constexpr Index kPairs = 1 << 20, kMostParts = 8;

// Memory

// Hands out matrices from one allocation. They are asked for twice: to count, and then for good.
class Arena {
 public:
  void allocate() {
    memory_ = aligned_floats(used_);
    used_ = 0;
  }
  Panels panels(Index count, Index rows, Index width) { return {take(count * rows * width), rows, width}; }
  float* take(Index count) {
    float* at = memory_ ? memory_.get() + used_ : nullptr;
    used_ += ceil_div(count, 16) * 16;
    return at;
  }

 private:
  AlignedFloats memory_;
  Index used_ = 0;
};

// A block of rows

// Rows of a part from `first` on, and for each micro-block of them the panels of keys that it sees.
template <class KERNEL>
struct Block {
  Index count;
  Row rows[kBlock];
  Range seen[kBlock / KERNEL::kRows];

  Block(const Part& part, Index first) : count(std::min(kBlock, part.last - first)) {
    const Index group = part.problem.group;
    Index query = first / group, member = first % group;
    for (Index r = 0; r < count; ++r) {
      rows[r] = {query, part.kv_head * group + member};
      if (++member == group) ++query, member = 0;
    }
    for (Index m = 0; m < micros(); ++m) {
      const Range keys = part.visible(rows[m * KERNEL::kRows].query, rows[last_of(m)].query);
      seen[m].begin = keys.begin / KERNEL::kPanel;
      seen[m].end = std::max(seen[m].begin, ceil_div(keys.end, KERNEL::kPanel));
    }
  }

  Index micros() const { return ceil_div(count, KERNEL::kRows); }
  Index last_of(Index micro) const { return std::min((micro + 1) * KERNEL::kRows, count) - 1; }
  Index begin() const { return seen[0].begin; }
  Index end() const { return seen[micros() - 1].end; }
  // What a row's micro-block sees, counted from the block's first panel.
  Range own(Index row) const {
    const Range& panels = seen[row / KERNEL::kRows];
    return {panels.begin - begin(), panels.end - begin()};
  }
  // The micro-blocks that see a panel follow each other, as both ends of `seen` rise.
  Range seeing(Index panel) const {
    Range found{0, micros()};
    while (found.begin < found.end && seen[found.begin].end <= panel) ++found.begin;
    while (found.end > found.begin && seen[found.end - 1].begin > panel) --found.end;
    return found;
  }
};

// Most panels of keys that a block of a part sees.
template <class KERNEL>
Index widest(const Part& part) {
  Index most = 0;
  for (Index row = part.first; row < part.last; row += kBlock) {
    const Block<KERNEL> block(part, row);
    most = std::max(most, block.end() - block.begin());
  }
  return most;
}

// −∞ where rows of a micro-block don't see keys of a panel.
template <class KERNEL>
SMOLFAST_INLINE void hide(const Part& part, const Block<KERNEL>& block, Index micro, Index panel, float* scores) {
  const Index row = micro * KERNEL::kRows, last = block.last_of(micro), from = panel * KERNEL::kPanel;
  const Index lowest = block.rows[row].query, highest = block.rows[last].query;
  if (part.visible(lowest, lowest).end >= from + KERNEL::kPanel && part.visible(highest, highest).begin <= from) return;
  for (Index r = row; r <= last; ++r, scores += KERNEL::kPanel) {
    const Range seen = part.visible(block.rows[r].query, block.rows[r].query);
    const int low = static_cast<int>(std::clamp<Index>(seen.begin - from, 0, KERNEL::kPanel));
    const int high = static_cast<int>(std::clamp<Index>(seen.end - from, 0, KERNEL::kPanel));
#pragma omp simd
    for (int e = 0; e < static_cast<int>(KERNEL::kPanel); ++e) {
      scores[e] = e >= low && e < high ? scores[e] : -kInfinity;
    }
  }
}

// Scores of a block with the keys that it sees, masked, if `masked`.
template <class KERNEL>
SMOLFAST_INLINE void score(const Part& part, const Block<KERNEL>& block, const Panels& rows, const Panels& columns,
                           bool masked, const Panels& scores) {
  for (Index panel = block.begin(); panel < block.end(); ++panel) {
    const Range micros = block.seeing(panel);
    for (Index m = micros.begin; m < micros.end; ++m) {
      float* tile = scores.at(panel - block.begin(), m * KERNEL::kRows);
      KERNEL::product(rows.at(0, m * KERNEL::kRows), rows.rows, columns.at(panel, 0), part.problem.width, tile);
      if (masked) hide(part, block, m, panel, tile);
    }
  }
}

// The block's rows of scores times the matrix `by` [keys, width].
template <class KERNEL>
SMOLFAST_INLINE void combine(const Block<KERNEL>& block, const Panels& scores, const Panels& by, Index panels,
                             const Panels& to) {
  for (Index p = 0; p < panels; ++p) {
    for (Index m = 0; m < block.micros(); ++m) {
      const Range seen = block.seen[m];
      KERNEL::product(scores.at(seen.begin - block.begin(), m * KERNEL::kRows), scores.rows,
                      by.at(p, seen.begin * KERNEL::kPanel), (seen.end - seen.begin) * KERNEL::kPanel,
                      to.at(p, m * KERNEL::kRows));
    }
  }
}

// Queries (scaled) or a gradient as a block's matrix [rows, width]; rows that fill the last micro-block are 0.
template <class KERNEL>
SMOLFAST_INLINE void load_block(const Part& part, const Block<KERNEL>& block, const Tensor& x, bool rotated,
                                float scale, float* row, const Panels& to) {
  const Index panels = ceil_div(part.problem.width, KERNEL::kPanel), padded = panels * KERNEL::kPanel;
  for (Index r = 0; r < block.micros() * KERNEL::kRows; ++r) {
    if (r < block.count) {
      const Row& at = block.rows[r];
      load(part.problem, x, at.offset(part, x), rotated ? at.table(part) : -1, scale, row, padded);
    } else {
      std::fill_n(row, padded, 0.0f);
    }
    pack_row<KERNEL>(row, r, to, panels);
  }
}

// Forward

struct Softmax {
  float highest, sum;
};

// A row's scores become exp(score − the highest).
template <class KERNEL>
SMOLFAST_INLINE Softmax softmax(const Panels& scores, Index row, Range panels) {
  using Vec = typename KERNEL::Vec;
  Vec high[2] = {Vec{} - kInfinity, Vec{} - kInfinity}, sums[2] = {};
  for (Index p = panels.begin; p < panels.end; ++p) {
    const auto* from = reinterpret_cast<const Vec*>(scores.at(p, row));
    for (Index v = 0; v < 2; ++v) high[v] = larger(from[v], high[v]);
  }
  const float highest = highest_of<KERNEL::kLanes>(larger(high[0], high[1]));
  for (Index p = panels.begin; p < panels.end; ++p) {
    auto* at = reinterpret_cast<Vec*>(scores.at(p, row));
    for (Index v = 0; v < 2; ++v) {
      at[v] = exponentials<KERNEL::kLanes>(at[v] - highest);
      sums[v] += at[v];
    }
  }
  return {highest, sum_of<KERNEL::kLanes>(sums[0] + sums[1])};
}

template <class KERNEL>
SMOLFAST_INLINE void forward_part(const Part& part, const Tensor& out, const Statistics& lse, float* max_logit) {
  constexpr Index kPanel = KERNEL::kPanel;
  const Problem& problem = part.problem;
  const Index panels = ceil_div(problem.width, kPanel), key_panels = ceil_div(part.keys, kPanel);
  const Index most = widest<KERNEL>(part);
  Panels keys{}, values{}, queries{}, scores{}, result{};
  float* row = nullptr;
  Arena arena;
  for (const bool counting : {true, false}) {
    keys = arena.panels(key_panels, problem.width, kPanel);
    values = arena.panels(panels, key_panels * kPanel, kPanel);
    queries = arena.panels(panels, kBlock, kPanel);
    scores = arena.panels(most, kBlock, kPanel);
    result = arena.panels(panels, kBlock, kPanel);
    row = arena.take(panels * kPanel);
    if (counting) arena.allocate();
  }
  pack_columns<KERNEL>(part, problem.k, true, row, keys);
  pack_rows<KERNEL>(part, problem.v, false, row, values);
  for (Index first = part.first; first < part.last; first += kBlock) {
    const Block<KERNEL> block(part, first);
    load_block<KERNEL>(part, block, problem.q, true, problem.scale, row, queries);
    score<KERNEL>(part, block, queries, keys, true, scores);
    float inverse[kBlock];
    for (Index r = 0; r < block.count; ++r) {
      const Row& at = block.rows[r];
      const Range keys_seen = part.visible(at.query, at.query), own = block.own(r);
      const float sink = problem.sinks == nullptr ? -kInfinity : problem.sinks[at.head];
      float& log_sum = lse.data[at.offset(part, lse)];
      if (keys_seen.begin >= keys_seen.end) {
        inverse[r] = 0.0f;
        log_sum = sink;
        for (Index p = own.begin; p < own.end; ++p) std::fill_n(scores.at(p, r), kPanel, 0.0f);
        continue;
      }
      Softmax found = softmax<KERNEL>(scores, r, own);
      if (max_logit != nullptr) {
        float& highest = max_logit[at.head];
        if (std::isnan(found.sum)) highest = std::numeric_limits<float>::quiet_NaN();
        if (found.highest > highest) highest = found.highest;
      }
      inverse[r] = 1.0f;
      if (sink > found.highest) {
        inverse[r] = std::exp(found.highest - sink);
        found = {sink, found.sum * inverse[r] + 1.0f};
      } else if (sink > -kInfinity) {
        found.sum += std::exp(sink - found.highest);
      }
      inverse[r] /= found.sum;
      log_sum = found.highest + std::log(found.sum);
    }
    combine<KERNEL>(block, scores, values, panels, result);
    for (Index r = 0; r < block.count; ++r) {
      unpack_row<KERNEL>(result, r, row, panels);
      store(problem, row, inverse[r], -1, out, block.rows[r].offset(part, out));
    }
  }
}

// Backward

struct Gradients {
  const Tensor &out, &dq;
  const Statistics &lse, &grad_lse;
};

// A row's scores become weights, and gradients of weights become those of scores.
template <class KERNEL>
SMOLFAST_INLINE void softmax_backward(const Panels& scores, const Panels& slopes, Index row, Range panels, float lse,
                                      float grad_lse) {
  using Vec = typename KERNEL::Vec;
  Vec sums[2] = {};
  for (Index p = panels.begin; p < panels.end; ++p) {
    auto* at = reinterpret_cast<Vec*>(scores.at(p, row));
    const auto* slope = reinterpret_cast<const Vec*>(slopes.at(p, row));
    for (Index v = 0; v < 2; ++v) {
      at[v] = exponentials<KERNEL::kLanes>(at[v] - lse);
      sums[v] += at[v] * slope[v];
    }
  }
  const float mean = sum_of<KERNEL::kLanes>(sums[0] + sums[1]) - grad_lse;
  for (Index p = panels.begin; p < panels.end; ++p) {
    const auto* at = reinterpret_cast<const Vec*>(scores.at(p, row));
    auto* slope = reinterpret_cast<Vec*>(slopes.at(p, row));
    for (Index v = 0; v < 2; ++v) slope[v] = at[v] * (slope[v] - mean);
  }
}

// What the part gives to dk and dv [keys from part.base on, width].
template <class KERNEL>
SMOLFAST_INLINE void backward_part(const Part& part, const Gradients& gradients, const Panels& dk, const Panels& dv) {
  constexpr Index kPanel = KERNEL::kPanel, kRows = KERNEL::kRows;
  const Problem& problem = part.problem;
  const Index panels = ceil_div(problem.width, kPanel), key_panels = ceil_div(part.keys, kPanel);
  const Index most = widest<KERNEL>(part);
  Panels key_columns{}, value_columns{}, keys{}, queries{}, outs{}, scores{}, slopes{}, result{};
  float* row = nullptr;
  Arena arena;
  for (const bool counting : {true, false}) {
    key_columns = arena.panels(key_panels, problem.width, kPanel);
    value_columns = arena.panels(key_panels, problem.width, kPanel);
    keys = arena.panels(panels, key_panels * kPanel, kPanel);
    queries = arena.panels(panels, kBlock, kPanel);
    outs = arena.panels(panels, kBlock, kPanel);
    scores = arena.panels(most, kBlock, kPanel);
    slopes = arena.panels(most, kBlock, kPanel);
    result = arena.panels(panels, kBlock, kPanel);
    row = arena.take(panels * kPanel);
    if (counting) arena.allocate();
  }
  std::fill_n(dk.data, panels * dk.rows * kPanel, 0.0f);
  std::fill_n(dv.data, panels * dv.rows * kPanel, 0.0f);
  pack_columns<KERNEL>(part, problem.k, true, row, key_columns);
  pack_columns<KERNEL>(part, problem.v, false, row, value_columns);
  pack_rows<KERNEL>(part, problem.k, true, row, keys);
  for (Index first = part.first; first < part.last; first += kBlock) {
    const Block<KERNEL> block(part, first);
    load_block<KERNEL>(part, block, problem.q, true, problem.scale, row, queries);
    load_block<KERNEL>(part, block, gradients.out, false, 1.0f, row, outs);
    score<KERNEL>(part, block, queries, key_columns, true, scores);
    score<KERNEL>(part, block, outs, value_columns, false, slopes);
    for (Index r = 0; r < block.micros() * kRows; ++r) {
      float lse = 0.0f, grad_lse = 0.0f;
      if (r < block.count) {
        lse = gradients.lse.data[block.rows[r].offset(part, gradients.lse)];
        if (lse == -kInfinity) lse = 0.0f;  // a row that sees nothing: all its scores are −∞
        if (gradients.grad_lse.data != nullptr) {
          grad_lse = gradients.grad_lse.data[block.rows[r].offset(part, gradients.grad_lse)];
        }
      }
      softmax_backward<KERNEL>(scores, slopes, r, block.own(r), lse, grad_lse);
    }
    for (Index panel = block.begin(); panel < block.end(); ++panel) {
      const Range micros = block.seeing(panel);
      const Index from = micros.begin * kRows, count = (micros.end - micros.begin) * kRows;
      const float *weights = scores.at(panel - block.begin(), from), *slope = slopes.at(panel - block.begin(), from);
      for (Index p = 0; p < panels; ++p) {
        for (Index key = 0; key < kPanel; key += kRows) {
          KERNEL::add_transposed(weights + key, outs.at(p, from), count, dv.at(p, panel * kPanel + key));
          KERNEL::add_transposed(slope + key, queries.at(p, from), count, dk.at(p, panel * kPanel + key));
        }
      }
    }
    combine<KERNEL>(block, slopes, keys, panels, result);
    for (Index r = 0; r < block.count; ++r) {
      unpack_row<KERNEL>(result, r, row, panels);
      const Row& at = block.rows[r];
      store(problem, row, problem.scale, at.table(part), gradients.dq, at.offset(part, gradients.dq));
    }
  }
}

// Sums of the parts of a sequence's rows, in their order, as gradients of its keys and values.
struct PartSums {
  Index base = 0, keys = 0;
  Arena memory{};
  Panels dk{}, dv{};
};

template <class KERNEL>
SMOLFAST_INLINE void store_keys(const Part& all, const PartSums* parts, Index count, const Tensor& dk,
                                const Tensor& dv) {
  const Index panels = ceil_div(all.problem.width, KERNEL::kPanel), padded = panels * KERNEL::kPanel;
  float sum[kWidest + KERNEL::kPanel], term[kWidest + KERNEL::kPanel];
  for (const bool values : {false, true}) {
    for (Index key = 0; key < all.sequence.keys; ++key) {
      std::fill_n(sum, padded, 0.0f);
      for (const PartSums* part = parts; part < parts + count; ++part) {
        if (key < part->base || key >= part->base + part->keys) continue;
        unpack_row<KERNEL>(values ? part->dv : part->dk, key - part->base, term, panels);
#pragma omp simd
        for (Index d = 0; d < padded; ++d) sum[d] += term[d];
      }
      const Tensor& to = values ? dv : dk;
      const Index offset =
          all.sequence.batch * to.batch + (all.sequence.first_key + key) * to.token + all.kv_head * to.head;
      store(all.problem, sum, 1.0f, values ? -1 : all.sequence.table + key, to, offset);
    }
  }
}

struct Implementation {
  Index panel;
  void (*forward)(const Part&, const Tensor&, const Statistics&, float*);
  void (*backward)(const Part&, const Gradients&, const Panels&, const Panels&);
  void (*store_keys)(const Part&, const PartSums*, Index, const Tensor&, const Tensor&);
};

// The kernel NAME and NAME_implementation for one instruction set, given as the target attribute.
#define SMOLFAST_IMPLEMENT(NAME, TARGET, LANES, ROWS)                                                                 \
  struct NAME : Micro<LANES, ROWS> {                                                                                  \
    TARGET SMOLFAST_NOINLINE static void product(const float* A, Index rows, const float* B, Index steps, float* C) { \
      Micro::product(A, rows, B, steps, C);                                                                           \
    }                                                                                                                 \
    TARGET SMOLFAST_NOINLINE static void add_transposed(const float* A, const float* B, Index steps, float* C) {      \
      Micro::add_transposed(A, B, steps, C);                                                                          \
    }                                                                                                                 \
  };                                                                                                                  \
  TARGET void forward_##NAME(const Part& part, const Tensor& out, const Statistics& lse, float* max_logit) {          \
    forward_part<NAME>(part, out, lse, max_logit);                                                                    \
  }                                                                                                                   \
  TARGET void backward_##NAME(const Part& part, const Gradients& gradients, const Panels& dk, const Panels& dv) {     \
    backward_part<NAME>(part, gradients, dk, dv);                                                                     \
  }                                                                                                                   \
  TARGET void store_keys_##NAME(const Part& all, const PartSums* parts, Index count, const Tensor& dk,                \
                                const Tensor& dv) {                                                                   \
    store_keys<NAME>(all, parts, count, dk, dv);                                                                      \
  }                                                                                                                   \
  constexpr Implementation NAME##_implementation{NAME::kPanel, forward_##NAME, backward_##NAME, store_keys_##NAME};

#if defined(SMOLFAST_X86)
#if defined(__GNUC__)
SMOLFAST_IMPLEMENT(avx2, SMOLFAST_LOOPS_AVX2, 8, 4)
SMOLFAST_IMPLEMENT(avx512, SMOLFAST_LOOPS_AVX512, 16, 8)
#endif
SMOLFAST_IMPLEMENT(baseline, , kBaselineLanes, 2)
#else
SMOLFAST_IMPLEMENT(baseline, , kBaselineLanes, 8)
#endif

const Implementation& chosen() {
#if defined(SMOLFAST_X86) && defined(__GNUC__)
  const Isa isa = active_isa();
  if (isa == Isa::kAvx512) return avx512_implementation;
  if (isa == Isa::kAvx2) return avx2_implementation;
#endif
  return baseline_implementation;
}

// Which rows each part of each sequence takes: as many parts as `parts_of` says, whole blocks each.
struct Piece {
  Index sequence, first, last;
};

template <class COUNT>
std::vector<Piece> cut(const Problem& problem, const COUNT& parts_of) {
  std::vector<Piece> pieces;
  for (Index s = 0; s < static_cast<Index>(problem.sequences.size()); ++s) {
    const Index rows = problem.sequences[s].queries * problem.group, blocks = ceil_div(rows, kBlock);
    if (rows == 0) continue;
    const Index size = ceil_div(blocks, std::clamp<Index>(parts_of(problem.sequences[s]), 1, blocks)) * kBlock;
    for (Index first = 0; first < rows; first += size) pieces.push_back({s, first, std::min(first + size, rows)});
  }
  return pieces;
}

}  // namespace

// A row's result doesn't depend on the part that it is in, so there may be as many as threads want. The last rows of
// causal sequences see the most keys: they go first, so that the threads end together.
void forward(const Problem& problem, const Tensor& out, const Statistics& lse, float* max_logit, int threads) {
  const Implementation& implementation = chosen();
  const Index tasks = std::max<Index>(1, static_cast<Index>(problem.sequences.size()) * problem.heads);
  const Index wanted = threads == 1 ? 1 : ceil_div(2 * threads, tasks);
  const std::vector<Piece> pieces = cut(problem, [wanted](const Sequence&) { return wanted; });
  const Index heads = problem.heads * problem.group, count = static_cast<Index>(pieces.size());
  std::vector<float> highest(max_logit == nullptr ? 0 : count * heads, -kInfinity);
  parallel_for(
      count * problem.heads, threads,
      [&](std::size_t task) {
        const Index piece = count - 1 - static_cast<Index>(task) / problem.heads,
                    head = static_cast<Index>(task) % problem.heads;
        const Piece& rows = pieces[piece];
        const Part part(problem, rows.sequence, head, rows.first, rows.last, implementation.panel);
        implementation.forward(part, out, lse, max_logit == nullptr ? nullptr : highest.data() + piece * heads);
      },
      Threads::kOpenMp);
  for (std::size_t i = 0; i < highest.size(); ++i) {
    float& most = max_logit[static_cast<Index>(i) % heads];
    if (std::isnan(highest[i]) || highest[i] > most) most = highest[i];
  }
}

// How a sequence is cut depends on its size alone, so that the sums over its parts don't depend on the threads.
void backward(const Problem& problem, const Tensor& grad_out, const Statistics& lse, const Statistics& grad_lse,
              const Tensor& dq, const Tensor& dk, const Tensor& dv, int threads) {
  const Implementation& implementation = chosen();
  const std::vector<Piece> pieces = cut(problem, [&problem](const Sequence& sequence) {
    return std::min(sequence.queries * problem.group * sequence.keys / kPairs, kMostParts);
  });
  const auto sequences = static_cast<Index>(problem.sequences.size());
  std::vector<Index> starts(sequences + 1);  // of each sequence's pieces
  for (const Piece& piece : pieces) ++starts[piece.sequence + 1];
  for (Index s = 0; s < sequences; ++s) starts[s + 1] += starts[s];
  const Gradients gradients{grad_out, dq, lse, grad_lse};
  const auto count = static_cast<Index>(pieces.size());
  std::vector<PartSums> sums(count * problem.heads);  // of one sequence and head side by side
  std::vector<std::atomic<Index>> missing(sequences * problem.heads);
  const auto finish = [&](Index s, Index head, PartSums* parts) {
    const Part all(problem, s, head, 0, problem.sequences[s].queries * problem.group, 1);
    implementation.store_keys(all, parts, starts[s + 1] - starts[s], dk, dv);
  };
  for (Index s = 0; s < sequences; ++s) {
    for (Index head = 0; head < problem.heads; ++head) {
      missing[s * problem.heads + head] = starts[s + 1] - starts[s];
      if (starts[s + 1] == starts[s]) finish(s, head, nullptr);
    }
  }
  parallel_for(
      count * problem.heads, threads,
      [&](std::size_t task) {
        const Index head = static_cast<Index>(task) % problem.heads;
        const Piece& piece = pieces[count - 1 - static_cast<Index>(task) / problem.heads];
        const Part part(problem, piece.sequence, head, piece.first, piece.last, implementation.panel);
        const Index at = starts[piece.sequence], parts = starts[piece.sequence + 1] - at;
        PartSums* all = sums.data() + at * problem.heads + head * parts;
        PartSums& own = all[&piece - pieces.data() - at];
        own.base = part.base;
        own.keys = part.keys;
        for (const bool counting : {true, false}) {
          const Index panels = ceil_div(problem.width, implementation.panel);
          const Index keys = ceil_div(part.keys, implementation.panel) * implementation.panel;
          own.dk = own.memory.panels(panels, keys, implementation.panel);
          own.dv = own.memory.panels(panels, keys, implementation.panel);
          if (counting) own.memory.allocate();
        }
        implementation.backward(part, gradients, own.dk, own.dv);
        if (missing[piece.sequence * problem.heads + head].fetch_sub(1) > 1) return;
        finish(piece.sequence, head, all);
        for (PartSums* each = all; each < all + parts; ++each) each->memory = {};
      },
      Threads::kOpenMp);
}

}  // namespace smolfast::attention
