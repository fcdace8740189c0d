#include "base/crew.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/cpu.h"
#include "base/threads.h"

#if defined(SMOLFAST_X86)
#include <immintrin.h>
#endif

namespace smolfast {
namespace {

// A job whose phases all have fewer tasks is left to its thread: sharing it takes longer than doing it.
constexpr std::size_t kShared = 8;
// To sleep and be woken takes tens of microseconds, as long as a phase of a small job. So long is looked for work
// first.
constexpr int kSpins = 2000;

void relax() {
#if defined(SMOLFAST_X86)
  _mm_pause();
#elif defined(SMOLFAST_ARM64) && defined(__GNUC__)
  __asm__ volatile("yield");
#endif
}

// A job under way.
struct alignas(64) Place {
  std::span<const std::size_t> phases;
  std::atomic<bool> open{false};                   // to helpers
  std::atomic<std::size_t> helpers{0};             // present
  alignas(64) std::atomic<std::uint64_t> next{0};  // the phase << 32 | the task to take
  alignas(64) std::atomic<std::size_t> done{0};    // tasks of this phase
};

struct Crew {
  std::size_t jobs;
  const std::function<std::span<const std::size_t>(std::size_t, std::size_t)>& start;
  const std::function<void(std::size_t, std::size_t, std::size_t, std::size_t)>& run;
  std::vector<Place> places;
  std::atomic<std::size_t> taken{0}, finished{0}, joined{0};

  static void join(void* crew) {
    Crew& self = *static_cast<Crew*>(crew);
    self.work(self.joined.fetch_add(1));
  }

  void work(std::size_t thread) {
    Place& own = places[thread];
    for (;;) {
      own.open.store(false);  // before taking: who finds no job left to take sees places open for their last alone
      const std::size_t job = taken.fetch_add(1);
      if (job >= jobs) break;
      own.phases = start(thread, job);
      if (places.size() == 1 || *std::max_element(own.phases.begin(), own.phases.end()) < kShared) {
        alone(thread);
      } else {
        own.next.store(0);
        own.open.store(true);
        share(thread, thread);
      }
      finished.fetch_add(1);
    }
    while (finished.load() < jobs) {
      if (const std::size_t place = in_need(); place < places.size()) {
        places[place].helpers.fetch_add(1);
        share(place, thread);
        places[place].helpers.fetch_sub(1);
      } else {
        std::this_thread::yield();
      }
    }
  }

  void alone(std::size_t thread) {
    const std::span<const std::size_t> phases = places[thread].phases;
    for (std::size_t phase = 0; phase < phases.size(); ++phase) {
      for (std::size_t task = 0; task < phases[phase]; ++task) run(thread, phase, task, thread);
    }
  }

  // The open place with the fewest helpers.
  std::size_t in_need() const {
    std::size_t best = places.size(), fewest = places.size();
    for (std::size_t i = 0; i < places.size(); ++i) {
      const Place& place = places[i];
      if (!place.open.load() || place.next.load() >> 32 == place.phases.size()) continue;
      if (const std::size_t helpers = place.helpers.load(); helpers < fewest) best = i, fewest = helpers;
    }
    return best;
  }

  // Takes tasks of a job until all of them are done.
  void share(std::size_t at, std::size_t thread) {
    Place& place = places[at];
    for (;;) {
      const std::uint64_t mine = place.next.fetch_add(1);
      const std::size_t phase = mine >> 32, task = mine & 0xFFFFFFFF;
      if (phase == place.phases.size()) return;
      if (task >= place.phases[phase]) {
        await(place, phase);
        continue;
      }
      run(at, phase, task, thread);
      if (place.done.fetch_add(1) + 1 == place.phases[phase]) {
        place.done.store(0);
        place.next.store(static_cast<std::uint64_t>(phase + 1) << 32);
        place.next.notify_all();
      }
    }
  }

  static void await(Place& place, std::size_t phase) {
    for (int i = 0; i < kSpins; ++i) {
      if (place.next.load() >> 32 != phase) return;
      relax();
    }
    for (std::uint64_t seen = place.next.load(); seen >> 32 == phase; seen = place.next.load()) place.next.wait(seen);
  }
};

}  // namespace

void run_crew(std::size_t jobs, std::size_t threads,
              const std::function<std::span<const std::size_t>(std::size_t, std::size_t)>& start,
              const std::function<void(std::size_t, std::size_t, std::size_t, std::size_t)>& run) {
  Crew crew{jobs, start, run, std::vector<Place>(threads)};
  on_threads(threads, Threads::kOpenMp, Crew::join, &crew);
}

}  // namespace smolfast
