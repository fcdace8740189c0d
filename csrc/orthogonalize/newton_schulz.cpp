#include "orthogonalize/newton_schulz.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "base/aligned.h"
#include "base/cpu.h"
#include "base/crew.h"
#include "orthogonalize/rows.h"
#include "orthogonalize/tiles.h"

// This file is compiled with contraction of a · b + c into one instruction, which the ISO mode of the rest forbids.

namespace smolfast::orthogonalize {
namespace {

// So many of the products P Q are taken for symmetric, which they are but for rounding. Later on the errors of P are
// larger than those of mirroring may be; the first two leave the result's error as it is (33 × 33 to 400 × 900,
// "muon").
constexpr std::size_t kMirrored = 2;
// Multiply-adds worth a thread: some 80 µs, as long as it takes to start one.
constexpr double kThreadCost = 1 << 22;

struct Job {
  const Matrix* matrix;
  bool tall;
  std::size_t n, m;  // in tiles, n ≤ m

  explicit Job(const Matrix& given) : matrix(&given), tall(given.rows > given.columns) {
    n = (std::min(given.rows, given.columns) + kTile - 1) / kTile;
    m = (std::max(given.rows, given.columns) + kTile - 1) / kTile;
  }
  std::size_t strips() const { return tall ? m : n; }  // of the matrix
  std::size_t squares() const { return matrix->parts.empty() ? 2 : 4; }
  std::size_t memory() const { return (n * m + squares() * n * n) * kTileSize; }

  double cost(std::size_t steps) const {  // multiply-adds
    const double nnm = static_cast<double>(n * n * m) * (kTile * kTileSize), nnn = nnm * n / m, k = steps;
    const double parts = matrix->parts.size();
    return parts > 0 ? parts * 1.5 * nnm + (2.5 * k - 2 * parts) * nnn : k * (1.5 * nnm + 0.5 * nnn);
  }
};

struct Phase {
  enum class Kind { kLoad, kScale, kSymmetric, kMultiply, kStore } kind;
  Tiles A{}, B{}, OUT{};
  Terms terms{};  // a product's; beta is that of X in AX + beta · X
};

// A matrix in work, and the memory for it.
struct Place {
  AlignedFloats memory;
  std::vector<double> sums;  // of squares, one for each strip of rows
  std::vector<Phase> phases;
  std::vector<std::size_t> tasks;
  const Matrix* matrix = nullptr;
  bool tall = false;

  void add(Phase phase, std::size_t count) {
    phases.push_back(phase);
    tasks.push_back(count);
  }
  void symmetric(const Tiles& A, const Tiles& B, const Terms& terms, const Tiles& OUT) {
    add({Phase::Kind::kSymmetric, A, B, OUT, terms}, OUT.wide);
  }
  void multiply(const Tiles& A, float scale, const Tiles& X) {
    add({Phase::Kind::kMultiply, A, {}, X, {1.0f, scale, 0.0f, nullptr}}, X.wide);
  }

  void start(const Job& job, std::span<const Step> steps) {
    matrix = job.matrix;
    tall = job.tall;
    phases.clear();
    tasks.clear();
    const std::size_t n = job.n, m = job.m;
    const Tiles X{memory.get(), n, m};
    Tiles square[4];
    for (std::size_t i = 0; i < 4; ++i) square[i] = {X.data + (n * m + i * n * n) * kTileSize, n, n};
    add({Phase::Kind::kLoad, {}, {}, X}, job.strips());
    add({Phase::Kind::kScale, {}, {}, X}, n);
    if (matrix->parts.empty()) {
      const Tiles &A = square[0], &B = square[1];
      for (const Step& step : steps) {
        symmetric(X, X, {}, A);
        symmetric(A, A, {step.c, step.b, 0.0f, A.data}, B);
        multiply(B, step.a, X);
      }
    }
    const Step* step = steps.data();
    for (const std::size_t part : matrix->parts) {
      const Tiles &R = square[0], &P = square[2];
      Tiles spare = square[1], Q = square[3];
      symmetric(X, X, {}, R);
      for (std::size_t i = 0; i < part; ++i, ++step) {
        const Tiles factor = i == 0 ? Q : P;
        symmetric(R, R, {step->c, step->b, step->a, R.data}, factor);
        if (i > kMirrored) {
          multiply(P, 0.0f, Q);  // P from the left
        } else if (i > 0) {
          symmetric(P, Q, {}, spare);
          std::swap(Q, spare);
        }
        if (i + 1 < part) {
          symmetric(factor, R, {}, spare);
          symmetric(spare, factor, {}, R);
        }
      }
      multiply(Q, 0.0f, X);
    }
    add({Phase::Kind::kStore, {}, {}, X}, job.strips());
  }
};

// A task of a phase; `panel` holds n tiles.
template <class KERNEL>
SMOLFAST_INLINE void run_task(Place& place, const Phase& phase, std::size_t task, double eps, const Muon* muon,
                              float* panel) {
  switch (phase.kind) {
    case Phase::Kind::kLoad:
      place.sums[task] = load<KERNEL>(*place.matrix, muon, place.tall, phase.OUT, task);
      break;
    case Phase::Kind::kScale: {
      const std::size_t strips = place.tall ? phase.OUT.wide : phase.OUT.tall;
      const double norm = std::sqrt(std::accumulate(place.sums.begin(), place.sums.begin() + strips, 0.0));
      const auto scale = static_cast<float>(1.0 / (norm < eps ? eps : norm));
      float* numbers = phase.OUT.tile(task, 0);
      for (std::size_t e = 0; e < phase.OUT.wide * kTileSize; ++e) numbers[e] *= scale;
      break;
    }
    case Phase::Kind::kSymmetric:
      symmetric<KERNEL>(phase.A, phase.B, phase.terms, phase.OUT, task);
      break;
    case Phase::Kind::kMultiply:
      multiply<KERNEL>(phase.A, phase.terms.beta, phase.OUT, panel, task);
      break;
    case Phase::Kind::kStore:
      store<KERNEL>(*place.matrix, muon, place.tall, phase.OUT, task);
      break;
  }
}

using RunTask = void (*)(Place&, const Phase&, std::size_t, double, const Muon*, float*);

// The kernel NAME and run_NAME for one instruction set, given as the target attribute.
#define SMOLFAST_IMPLEMENT(NAME, TARGET, LANES, ROWS)                                                        \
  struct NAME {                                                                                              \
    static constexpr std::size_t kLanes = LANES;                                                             \
    TARGET SMOLFAST_NOINLINE static void by_column(const float* left, const float* right, std::size_t count, \
                                                   float* sum) {                                             \
      Micro<LANES, ROWS>::template tile<true>(left, right, count, sum);                                      \
    }                                                                                                        \
    TARGET SMOLFAST_NOINLINE static void by_row(const float* left, const float* right, std::size_t count,    \
                                                float* sum) {                                                \
      Micro<LANES, ROWS>::template tile<false>(left, right, count, sum);                                     \
    }                                                                                                        \
  };                                                                                                         \
  TARGET void run_##NAME(Place& place, const Phase& phase, std::size_t task, double eps, const Muon* muon,   \
                         float* panel) {                                                                     \
    run_task<NAME>(place, phase, task, eps, muon, panel);                                                    \
  }

#if defined(SMOLFAST_X86)
#if defined(__GNUC__)
SMOLFAST_IMPLEMENT(avx2, SMOLFAST_LOOPS_AVX2, 8, 6)
SMOLFAST_IMPLEMENT(avx512, SMOLFAST_LOOPS_AVX512, 16, 16)
#endif
SMOLFAST_IMPLEMENT(baseline, , 4, 2)
#else
SMOLFAST_IMPLEMENT(baseline, , 4, 6)
#endif

RunTask chosen() {
#if defined(SMOLFAST_X86) && defined(__GNUC__)
  const Isa isa = active_isa();
  if (isa == Isa::kAvx512) return run_avx512;
  if (isa == Isa::kAvx2) return run_avx2;
#endif
  return run_baseline;
}

}  // namespace

void newton_schulz(std::span<const Matrix> matrices, double eps, std::span<const Step> steps, int threads,
                   const Muon* muon) {
  std::vector<Job> jobs;
  std::size_t memory = 0, strips = 0, panel = 0, parts = 0;
  double cost = 0;
  for (const Matrix& matrix : matrices) {
    if (matrix.rows == 0 || matrix.columns == 0) continue;
    const Job& job = jobs.emplace_back(matrix);
    memory = std::max(memory, job.memory());
    strips = std::max(strips, job.strips());
    panel = std::max(panel, job.n * kTileSize);
    parts = std::max(parts, matrix.parts.size());
    cost += job.cost(steps.size());
  }
  if (jobs.empty()) return;
  std::stable_sort(jobs.begin(), jobs.end(),
                   [&](const Job& a, const Job& b) { return a.cost(steps.size()) > b.cost(steps.size()); });
  constexpr double kMostThreads = 1024;
  const auto wanted = static_cast<std::size_t>(
      std::clamp(cost / kThreadCost, 1.0, std::clamp(static_cast<double>(threads), 1.0, kMostThreads)));
  std::vector<Place> places(wanted);
  for (Place& place : places) {  // all of it here, where it may throw
    place.memory = aligned_floats(memory);
    place.sums.resize(strips);
    const std::size_t most = 3 + 4 * steps.size() + 2 * parts;
    place.phases.reserve(most);
    place.tasks.reserve(most);
  }
  const AlignedFloats panels = aligned_floats(wanted * panel);
  const RunTask run = chosen();
  run_crew(
      jobs.size(), wanted,
      [&](std::size_t place, std::size_t job) -> std::span<const std::size_t> {
        places[place].start(jobs[job], steps);
        return places[place].tasks;
      },
      [&](std::size_t at, std::size_t phase, std::size_t task, std::size_t thread) {
        Place& place = places[at];
        run(place, place.phases[phase], task, eps, muon, panels.get() + thread * panel);
      });
}

}  // namespace smolfast::orthogonalize
