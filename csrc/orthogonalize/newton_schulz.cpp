#include "orthogonalize/newton_schulz.h"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cmath>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/cpu.h"
#include "orthogonalize/tiles.h"

// This file is compiled with contraction of a · b + c into one instruction, which the ISO mode of the rest forbids.

namespace smolfast::orthogonalize {
namespace {

// So many of the products P Q are taken for symmetric, which they are but for rounding. Later on the errors of P are
// larger than those of mirroring may be; the first two leave the result's error as it is (33 × 33 to 400 × 900,
// "muon").
constexpr std::size_t kMirrored = 2;

struct Job {
  std::size_t rows, columns;
  double eps;
  std::span<const Step> steps;
  std::span<const std::size_t> parts;

  bool tall() const { return rows > columns; }
  std::size_t n() const { return (std::min(rows, columns) + kTile - 1) / kTile; }  // in tiles
  std::size_t m() const { return (std::max(rows, columns) + kTile - 1) / kTile; }
};

struct Free {
  void operator()(float* memory) const { ::operator delete(memory, std::align_val_t{64}); }
};

// What a team works in.
struct Workspace {
  Workspace(const Job& job, std::size_t members) {
    const std::size_t n = job.n(), m = job.m(), squares = job.parts.empty() ? 2 : 4;
    const std::size_t count = (n * m + squares * n * n + members * m) * kTileSize;
    memory.reset(static_cast<float*>(::operator new(count * sizeof(float), std::align_val_t{64})));
    float* at = memory.get();
    X = {at, n, m};
    at += n * m * kTileSize;
    for (std::size_t i = 0; i < squares; ++i, at += n * n * kTileSize) square[i] = {at, n, n};
    panels = at;
  }

  std::unique_ptr<float, Free> memory;
  Tiles X{};
  Tiles square[4]{};
  float* panels = nullptr;  // m tiles for each member
};

// A sum of squares in double can neither overflow nor vanish.
SMOLFAST_INLINE float scale_of(const float* matrix, const Job& job) {
  double sums[8] = {};
  const std::size_t count = job.rows * job.columns;
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (std::size_t lane = 0; lane < 8; ++lane) sums[lane] += static_cast<double>(matrix[i + lane]) * matrix[i + lane];
  }
  for (; i < count; ++i) sums[0] += static_cast<double>(matrix[i]) * matrix[i];
  double sum = 0;
  for (const double part : sums) sum += part;
  const double norm = std::sqrt(sum);
  return static_cast<float>(1.0 / (norm < job.eps ? job.eps : norm));
}

using Meet = std::barrier<>;

// A member's part of the work on one matrix; `all` of them meet after each part, null for one alone.
template <class KERNEL>
SMOLFAST_INLINE void one_matrix(float* matrix, const Job& job, const Workspace& space, const Member& member,
                                Meet* all) {
  const auto meet = [all] {
    if (all != nullptr) all->arrive_and_wait();
  };
  const Tiles& X = space.X;
  float* panel = space.panels + member.rank * job.m() * kTileSize;
  const float scale = scale_of(matrix, job);
  load<KERNEL>(matrix, job.rows, job.columns, job.tall(), scale, X, member);
  meet();
  if (job.parts.empty()) {
    const Tiles &A = space.square[0], &B = space.square[1];
    for (const Step& step : job.steps) {
      symmetric<KERNEL>(X, X, true, {}, A, panel, member);
      meet();
      symmetric<KERNEL>(A, A, false, {step.c, step.b, 0.0f, &A}, B, panel, member);
      meet();
      multiply<KERNEL>(B, step.a, X, panel, member);
      meet();
    }
  }
  const Step* step = job.steps.data();
  for (const std::size_t part : job.parts) {
    const Tiles &R = space.square[0], &P = space.square[2];
    Tiles spare = space.square[1], Q = space.square[3];
    symmetric<KERNEL>(X, X, true, {}, R, panel, member);
    meet();
    for (std::size_t i = 0; i < part; ++i, ++step) {
      const Tiles factor = i == 0 ? Q : P;
      symmetric<KERNEL>(R, R, false, {step->c, step->b, step->a, &R}, factor, panel, member);
      meet();
      if (i > kMirrored) {
        multiply<KERNEL>(P, 0.0f, Q, panel, member);  // P from the left
      } else if (i > 0) {
        symmetric<KERNEL>(P, Q, false, {}, spare, panel, member);
        meet();
        std::swap(Q, spare);
      }
      if (i + 1 < part) {
        symmetric<KERNEL>(factor, R, false, {}, spare, panel, member);
        meet();
        symmetric<KERNEL>(spare, factor, false, {}, R, panel, member);
      }
      meet();
    }
    multiply<KERNEL>(Q, 0.0f, X, panel, member);
    meet();
  }
  store<KERNEL>(X, job.rows, job.columns, job.tall(), matrix, member);
  meet();
}

using OneMatrix = void (*)(float*, const Job&, const Workspace&, const Member&, Meet*);

#if defined(__GNUC__)
#define SMOLFAST_NOINLINE __attribute__((noinline))
#else
#define SMOLFAST_NOINLINE
#endif

// The kernel NAME and one_NAME for one instruction set, given as the target attribute.
#define SMOLFAST_IMPLEMENT(NAME, TARGET, LANES, ROWS)                                                              \
  struct NAME {                                                                                                    \
    static constexpr std::size_t kLanes = LANES;                                                                   \
    TARGET SMOLFAST_NOINLINE static void tile(const Tiles& A, std::size_t i, const float* panel, float* sum) {     \
      Micro<LANES, ROWS>::tile(A, i, panel, sum);                                                                  \
    }                                                                                                              \
  };                                                                                                               \
  TARGET void one_##NAME(float* matrix, const Job& job, const Workspace& space, const Member& member, Meet* all) { \
    one_matrix<NAME>(matrix, job, space, member, all);                                                             \
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

OneMatrix chosen() {
#if defined(SMOLFAST_X86) && defined(__GNUC__)
  const Isa isa = active_isa();
  if (isa == Isa::kAvx512) return one_avx512;
  if (isa == Isa::kAvx2) return one_avx2;
#endif
  return one_baseline;
}

// Runs body(rank, size) on up to `wanted` threads, the caller's among them, that really run at the same time.
template <class BODY>
void run_team(std::size_t wanted, const BODY& body) {
  if (wanted <= 1) return body(0, 1);
  std::atomic<std::size_t> size{0};
  std::vector<std::jthread> pool;
  pool.reserve(wanted - 1);
  try {
    for (std::size_t rank = 1; rank < wanted; ++rank) {
      pool.emplace_back([&, rank] {
        size.wait(0);
        body(rank, size.load());
      });
    }
  } catch (const std::system_error&) {  // no more threads to be had: fewer do it
  }
  size = pool.size() + 1;
  size.notify_all();
  body(0, pool.size() + 1);
}

}  // namespace

void newton_schulz(std::span<float* const> matrices, std::size_t rows, std::size_t columns, double eps,
                   std::span<const Step> steps, std::span<const std::size_t> parts, int threads) {
  const Job job{rows, columns, eps, steps, parts};
  if (matrices.empty() || rows == 0 || columns == 0) return;
  const OneMatrix one = chosen();
  const std::size_t wanted = std::max(threads, 1);
  const std::size_t alone = matrices.size() - matrices.size() % wanted;
  if (alone > 0) {
    std::vector<Workspace> spaces;
    for (std::size_t rank = 0; rank < wanted; ++rank) spaces.emplace_back(job, 1);
    run_team(wanted, [&](std::size_t rank, std::size_t size) {
      for (std::size_t i = rank; i < alone; i += size) one(matrices[i], job, spaces[rank], {0, 1}, nullptr);
    });
  }
  if (alone == matrices.size()) return;
  // A thread with fewer than four rows of tiles waits more than it works.
  const std::size_t members = std::clamp<std::size_t>(job.n() / 4, 1, wanted);
  const Workspace space(job, members);
  Meet barrier(static_cast<std::ptrdiff_t>(members));
  run_team(members, [&](std::size_t rank, std::size_t size) {
    if (rank == 0) {
      for (std::size_t missing = size; missing < members; ++missing) barrier.arrive_and_drop();
    }
    for (std::size_t i = alone; i < matrices.size(); ++i) {
      one(matrices[i], job, space, {rank, size}, size > 1 ? &barrier : nullptr);
    }
  });
}

}  // namespace smolfast::orthogonalize
