// Jobs of unequal size, each made of phases that follow one another, done by several threads.
//
// A thread takes a job of its own as long as there are any, and then helps with those still under way: within a phase
// tasks are taken one by one, and whoever finishes the last begins the next phase. Nobody waits for a thread that the
// system hasn't given a CPU yet, as at a barrier; it joins in at whatever phase it finds. The threads are those of the
// OpenMP that torch brings, if there is one, and else started anew.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

namespace smolfast {

// start(place, job) gets ready for a job in one of `threads` places, and returns the number of tasks of each phase,
// none of them 0, to be kept until the place is started again. run(place, phase, task, thread) does one task of the job
// there; the tasks of a phase run in any order. The jobs begin in ascending order: put the longest first. Neither may
// throw.
void run_crew(
    std::size_t jobs, std::size_t threads,
    const std::function<std::span<const std::size_t>(std::size_t place, std::size_t job)>& start,
    const std::function<void(std::size_t place, std::size_t phase, std::size_t task, std::size_t thread)>& run);

}  // namespace smolfast
