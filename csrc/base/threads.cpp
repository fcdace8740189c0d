#include "base/threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#include <sched.h>
#endif

namespace smolfast {

int available_threads() {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

namespace {

using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);

Parallel openmp() {
#if defined(__linux__)
  return reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
#else
  return nullptr;
#endif
}

}  // namespace

void on_threads(std::size_t threads, Threads whose, void (*body)(void*), void* argument) {
  if (threads <= 1) return body(argument);
  if (whose == Threads::kOpenMp) {
    if (const Parallel parallel = openmp(); parallel != nullptr) {
      return parallel(body, argument, static_cast<unsigned>(threads), 0);
    }
  }
  std::vector<std::jthread> pool;
  pool.reserve(threads - 1);
  try {
    for (std::size_t i = 1; i < threads; ++i) pool.emplace_back(body, argument);
  } catch (const std::system_error&) {
    // The system gives no more threads: those that there are do the work.
  }
  body(argument);
}

void parallel_for(std::size_t tasks, int threads, const std::function<void(std::size_t)>& body, Threads whose) {
  // More would only take memory, and at some number the system refuses.
  constexpr int kMostThreads = 1024;
  threads = std::min(threads <= 0 ? available_threads() : threads, kMostThreads);
  const std::size_t workers = std::min(tasks, static_cast<std::size_t>(threads));
  if (workers <= 1) {
    for (std::size_t task = 0; task < tasks; ++task) body(task);
    return;
  }
  std::atomic<std::size_t> next{0};
  // Tasks below the lowest failure still run, so the exception kept is the lowest whatever the timing.
  std::atomic<std::size_t> failed{tasks};
  std::exception_ptr error;
  std::mutex error_lock;
  auto work = [&] {
    for (;;) {
      const std::size_t task = next.fetch_add(1, std::memory_order_relaxed);
      if (task >= failed.load(std::memory_order_acquire)) return;
      try {
        body(task);
      } catch (...) {
        const std::lock_guard<std::mutex> hold(error_lock);
        if (task < failed.load(std::memory_order_relaxed)) {
          failed.store(task, std::memory_order_release);
          error = std::current_exception();
        }
      }
    }
  };
  on_threads(workers, whose, [](void* all) { (*static_cast<decltype(work)*>(all))(); }, &work);
  if (error) std::rethrow_exception(error);
}

}  // namespace smolfast
