// Work split over threads so that the result never depends on how many there are: tasks are numbered by the caller,
// each writes only its own slot, and the caller joins the slots in order.
#pragma once

#include <cstddef>
#include <functional>

namespace smolfast {

// The CPUs this process may run on (affinity-aware on Linux), at least 1.
int available_threads();

// Whose threads do the work. The OpenMP that torch brings is faster to start, and its threads look for work for some
// milliseconds after an operation of torch, when they would keep a CPU from threads of ours. But a child forked after
// its first use waits for them for ever, as torch does: for what models compute, not for data in worker processes.
enum class Threads { kOurs, kOpenMp };

// Runs body(task) for every task in [0, tasks) on up to `threads` threads, the caller's among them; threads = 0 means
// available_threads(). Tasks are handed out in ascending order. The exception of the lowest-numbered failing task is
// rethrown after all threads have stopped, so that errors too are the same at any thread count.
void parallel_for(std::size_t tasks, int threads, const std::function<void(std::size_t)>& body,
                  Threads whose = Threads::kOurs);

// Calls body(argument) on up to `threads` threads, the caller's among them: fewer if the system gives no more. It must
// not throw. Without an OpenMP in the process the threads are always ours.
void on_threads(std::size_t threads, Threads whose, void (*body)(void*), void* argument);

}  // namespace smolfast
