#include "text/transform.h"

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <limits>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/error.h"
#include "base/threads.h"
#include "text/utf8.h"

namespace smolfast::text {
namespace {

// A task's output stays in the second-level cache until it is joined.
constexpr int64_t kTaskBytes = int64_t{1} << 18;
// Rows are checked for valid UTF-8 in groups of about this size, so that they're still in cache when transformed.
constexpr int64_t kCheckBytes = int64_t{1} << 15;
// No task starts while one so many places before it isn't done, for each thread: their outputs would pile up behind a
// thread that the system has put to sleep (1.3 × the output was seen on a busy machine).
constexpr std::size_t kMostAhead = 4;
// Outputs from here on don't fit any cache, and are written past it: half the traffic of memory, which threads share.
constexpr std::size_t kUncached = std::size_t{1} << 25;

// Alone on its cache lines: neighbours are filled by other threads, a row at a time.
struct alignas(128) Task {
  Task(std::size_t chunk, int64_t begin, int64_t end) : chunk(chunk), begin(begin), end(end) {}

  std::size_t chunk;
  int64_t begin;
  int64_t end;
  // Filled by running it.
  bool changed = false;
  int64_t bytes = 0;  // of its output, changed or not
  Buffer data;
  bool in_place = false;      // `data` is its chunk's output, with what earlier tasks wrote
  std::vector<int64_t> ends;  // of each row in `data`; only if changed
  // Where its output goes in its chunk's; filled once all tasks before it are done.
  int64_t base = 0;
};

// What a thread keeps between tasks. Buffers stay with it: taken from another's cache, each of their lines would have
// to come from there first, and two threads took up to a third longer for the same work.
struct alignas(128) Worker {
  std::unique_ptr<Transform> transform;
  std::vector<Buffer> buffers;
  std::vector<std::size_t> waiting;  // its finished tasks that have no place yet
};

// Runs one task: rows are copied to the output only from the first change on.
class TaskRunner {
 public:
  TaskRunner(Task& task, const arrow::StringColumn& column, int64_t row_base, Transform& transform,
             const TransformOptions& options)
      : task_(task),
        column_(column),
        row_base_(row_base),
        transform_(transform),
        options_(options),
        start_(task.data.size()) {}

  void run() {
    if (options_.always_build || task_.in_place) start_output(task_.begin);
    int64_t checked = task_.begin;
    bool group_valid = true;
    for (int64_t row = task_.begin; row < task_.end; ++row) {
      if (column_.is_null(row)) {
        if (task_.changed) end_row();
        continue;
      }
      const std::string_view text = column_[row];
      if (const std::optional<bool> taken = transform_.run_unchecked(text, task_.data)) {
        end_run(row, text, *taken);
        continue;
      }
      if (row >= checked && !options_.known_valid) {
        checked = group_end(row);
        group_valid = is_group_valid(row, checked);
      }
      if (group_valid || options_.known_valid || is_valid_utf8(text)) {
        end_run(row, text, transform_.run(text, task_.data));
        continue;
      }
      if (options_.invalid == InvalidUtf8::kFail) {
        throw Error("row " + std::to_string(row_base_ + row) + " is not UTF-8 at byte " +
                    std::to_string(first_invalid_byte(text)) + "; " + options_.remedy);
      }
      repaired_.clear();
      append_repaired(text, repaired_);
      start_output(row);
      if (!transform_.run(repaired_.view(), task_.data)) task_.data.append(repaired_.view());
      end_row();
    }
    task_.bytes = task_.changed ? written() : column_.text_bytes(task_.begin, task_.end);
  }

 private:
  int64_t group_end(int64_t row) const {
    int64_t bytes = 0;
    while (row < task_.end && bytes < kCheckBytes) {
      bytes += column_.bytes(row, row + 1) + 16;
      ++row;
    }
    return row;
  }

  // Rows that lie side by side are checked in one go: if all of it is valid and every row starts a character, so is
  // each.
  bool is_group_valid(int64_t begin, int64_t end) const {
    if (!column_.contiguous()) return false;
    const std::string_view all = column_.span(begin, end);
    if (!is_valid_utf8(all)) return false;
    for (int64_t row = begin; row < end; ++row) {
      const std::string_view text = column_.span(row, row + 1);
      if (!text.empty() && is_continuation(text.front())) return false;
    }
    return true;
  }

  // What follows when the transform has run, and has said whether it changed the text.
  void end_run(int64_t row, std::string_view text, bool text_changed) {
    if (text_changed) {
      if (!task_.changed) {
        // The first change: what came before it goes first.
        first_.clear();
        first_.append(task_.data.view());
        task_.data.clear();
        start_output(row);
        task_.data.append(first_.view());
      }
    } else if (task_.changed) {
      task_.data.append(text);
    } else {
      return;
    }
    end_row();
  }

  void start_output(int64_t row) {
    if (task_.changed) return;
    task_.changed = true;
    task_.ends.reserve(static_cast<std::size_t>(task_.end - task_.begin));
    task_.data.room(static_cast<std::size_t>(column_.bytes(task_.begin, task_.end)));
    for (int64_t earlier = task_.begin; earlier < row; ++earlier) {
      if (!column_.is_null(earlier)) task_.data.append(column_[earlier]);
      end_row();
    }
  }

  void end_row() { task_.ends.push_back(written()); }

  int64_t written() const { return static_cast<int64_t>(task_.data.size() - start_); }

  Task& task_;
  const arrow::StringColumn& column_;
  const int64_t row_base_;
  Transform& transform_;
  const TransformOptions& options_;
  const std::size_t start_;  // of its output in the task's data
  Buffer repaired_;
  Buffer first_;
};

// Buffers of tasks, kept from one call to the next: a thread's memory goes back to the system when the thread ends, and
// two threads took twice as long for pages as for casefold.
class SpareTaskBuffers {
 public:
  Buffer take() {
    // Who can't have the lock at once (or, after a fork, ever) does without.
    const std::unique_lock<std::mutex> hold(lock_, std::try_to_lock);
    if (!hold || buffers_.empty()) return {};
    Buffer last = std::move(buffers_.back());
    kept_ -= last.capacity();
    buffers_.pop_back();
    return last;
  }

  void keep(Buffer buffer) {
    const std::unique_lock<std::mutex> hold(lock_, std::try_to_lock);
    if (!hold || kept_ + buffer.capacity() > kMost) return;
    buffer.clear();
    kept_ += buffer.capacity();
    buffers_.push_back(std::move(buffer));
  }

  void release() {
    const std::lock_guard<std::mutex> hold(lock_);
    buffers_.clear();
    kept_ = 0;
  }

  static SpareTaskBuffers& shared() {
    static auto* const buffers = new SpareTaskBuffers;  // never destroyed, so that no thread is too late
    return *buffers;
  }

 private:
  static constexpr std::size_t kMost = std::size_t{1} << 25;

  std::mutex lock_;
  std::vector<Buffer> buffers_;
  std::size_t kept_ = 0;
};

#if defined(__SSE2__)
// Past the cache: what is written is neither read first nor does it push anything out.
void copy_uncached(char* to, const char* from, std::size_t bytes) {
  constexpr std::size_t kVector = sizeof(__m128i);
  const std::size_t head = std::min(bytes, -reinterpret_cast<std::uintptr_t>(to) & (4 * kVector - 1));
  std::memcpy(to, from, head);
  std::size_t at = head;
  for (; at + 4 * kVector <= bytes; at += 4 * kVector) {
    for (std::size_t i = 0; i < 4; ++i) {
      const char* const source = from + at + i * kVector;
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + at + i * kVector),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(source)));
    }
  }
  std::memcpy(to + at, from + at, bytes - at);
  _mm_sfence();
}
#else
void copy_uncached(char* to, const char* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}
#endif

// Puts finished tasks together in order, whichever finishes first. A task's place is known once all before it are done;
// its bytes are then copied to their chunk's output by the thread that made them, beside other threads, and its buffer
// is used again by that thread's next task. So memory is the output and a few tasks' worth.
class Joiner {
 public:
  Joiner(const std::vector<arrow::StringColumn>& chunks, std::vector<Task>& tasks, int threads,
         std::vector<TransformedChunk>& results)
      : chunks_(chunks),
        tasks_(tasks),
        results_(results),
        threads_(static_cast<std::size_t>(threads > 0 ? threads : available_threads())),
        states_(tasks.size(), State::kOpen),
        placed_(chunks.size()) {}

  // Waits until few enough tasks before this one aren't done (the first of those is never the one that waits), and
  // gives it a buffer.
  Worker& begin(std::size_t task) {
    std::unique_lock<std::mutex> hold(order_);
    placed_more_.wait(hold, [&] { return failed_ || task < next_ + kMostAhead * threads_; });
    Worker& worker = workers_[std::this_thread::get_id()];
    hold.unlock();
    TransformedChunk& result = results_[tasks_[task].chunk];
    if (threads_ == 1 && result.changed && result.data.capacity() < kUncached) {
      // Alone, and what it writes would be copied within the cache: it writes there at once.
      tasks_[task].in_place = true;
      result.data.commit(result.data.data() + placed_[tasks_[task].chunk].bytes);
      tasks_[task].data = std::exchange(result.data, {});
      return worker;
    }
    if (worker.buffers.empty()) worker.buffers.push_back(SpareTaskBuffers::shared().take());
    tasks_[task].data = std::move(worker.buffers.back());
    worker.buffers.pop_back();
    return worker;
  }

  // A task failed, so that those after it will never be placed: nobody needs to wait.
  void fail() {
    {
      const std::lock_guard<std::mutex> hold(order_);
      failed_ = true;
    }
    placed_more_.notify_all();
  }

  void finish(std::size_t task, Worker& worker) {
    worker.waiting.push_back(task);
    std::vector<std::size_t> copies;
    std::vector<std::size_t> done;
    if (tasks_[task].in_place) results_[tasks_[task].chunk].data = std::exchange(tasks_[task].data, {});
    {
      const std::lock_guard<std::mutex> hold(order_);
      states_[task] = State::kFinished;
      for (; next_ < tasks_.size() && states_[next_] == State::kFinished; ++next_) place(next_, copies);
      take_placed(worker, copies, done);
    }
    placed_more_.notify_all();
    copy(copies, done, worker);
  }

  // What threads had waiting when they found no more tasks; the outputs as long as what was placed in them.
  void close() {
    for (auto& [thread, worker] : workers_) {
      std::vector<std::size_t> copies;
      std::vector<std::size_t> done;
      take_placed(worker, copies, done);
      copy(copies, done, worker);
      for (Buffer& buffer : worker.buffers) SpareTaskBuffers::shared().keep(std::move(buffer));
    }
    for (std::size_t chunk = 0; chunk < results_.size(); ++chunk) {
      TransformedChunk& result = results_[chunk];
      if (result.changed) result.data.commit(result.data.data() + placed_[chunk].bytes);
    }
  }

 private:
  struct Placed {
    std::vector<std::size_t> unchanged;  // tasks before the first change
    std::size_t bytes = 0;
  };

  // kUnchanged: there was no output of its chunk yet; if there is one later, whoever starts it copies the task.
  enum class State : uint8_t { kOpen, kFinished, kUnchanged, kPlaced };

  // The thread's tasks that have a place now: in `done`, and in `copies` those that are to be copied there.
  void take_placed(Worker& worker, std::vector<std::size_t>& copies, std::vector<std::size_t>& done) const {
    std::erase_if(worker.waiting, [&](std::size_t i) {
      if (i >= next_) return false;
      if (states_[i] == State::kPlaced) copies.push_back(i);
      done.push_back(i);
      return true;
    });
  }

  // And takes the buffers of those that are done back.
  void copy(const std::vector<std::size_t>& copies, const std::vector<std::size_t>& done, Worker& worker) {
    for (const std::size_t i : copies) copy(tasks_[i]);
    for (const std::size_t i : done) {
      if (tasks_[i].in_place) continue;
      tasks_[i].data.clear();
      worker.buffers.push_back(std::exchange(tasks_[i].data, {}));
    }
  }

  // Gives a task its place. The first that changes its chunk names those before it in `copies`.
  void place(std::size_t i, std::vector<std::size_t>& copies) {
    Task& task = tasks_[i];
    TransformedChunk& result = results_[task.chunk];
    Placed& placed = placed_[task.chunk];
    task.base = static_cast<int64_t>(placed.bytes);
    states_[i] = State::kUnchanged;
    if (!task.changed && !result.changed) {
      placed.unchanged.push_back(i);
    } else {
      states_[i] = State::kPlaced;
      const auto needed = placed.bytes + static_cast<std::size_t>(task.bytes);
      if (!result.changed || (!task.in_place && needed + Buffer::kSlack > result.data.capacity())) {
        const std::unique_lock<std::shared_mutex> hold(memory_);
        if (!result.changed) start(chunks_[task.chunk], task, result);
        result.data.commit(result.data.data() + placed.bytes);
        result.data.room(static_cast<std::size_t>(task.bytes));
      }
      copies.insert(copies.end(), placed.unchanged.begin(), placed.unchanged.end());
      placed.unchanged = {};
    }
    placed.bytes += static_cast<std::size_t>(task.bytes);
  }

  // Room by what the tasks so far have become.
  static void start(const arrow::StringColumn& column, const Task& task, TransformedChunk& result) {
    result.changed = true;
    result.rows = column.size();
    const auto so_far = static_cast<double>(task.base + task.bytes);
    const double growth = so_far / static_cast<double>(std::max<int64_t>(column.text_bytes(0, task.end), 1));
    const auto guess = static_cast<std::size_t>(growth * static_cast<double>(column.text_bytes(0, column.size())));
    result.data.room(guess + guess / 8);
    const std::size_t offsets = (static_cast<std::size_t>(result.rows) + 1) * sizeof(int64_t);
    char* const first = result.offsets.room(offsets);
    std::memset(first, 0, sizeof(int64_t));
    result.offsets.commit(first + offsets);
  }

  void copy(Task& task) {
    // The output may be moved, to grow, while nobody copies.
    const std::shared_lock<std::shared_mutex> hold(memory_);
    const arrow::StringColumn& column = chunks_[task.chunk];
    TransformedChunk& result = results_[task.chunk];
    char* const data = result.data.data() + task.base;
    char* const ends = result.offsets.data() + (static_cast<std::size_t>(task.begin) + 1) * sizeof(int64_t);
    const auto put_end = [&](int64_t row, int64_t bytes) {
      const int64_t end = task.base + bytes;
      std::memcpy(ends + static_cast<std::size_t>(row - task.begin) * sizeof(end), &end, sizeof(end));
    };
    if (task.changed) {
      const auto bytes = static_cast<std::size_t>(task.bytes);
      if (result.data.capacity() >= kUncached && !task.in_place) {
        copy_uncached(data, task.data.data(), bytes);
      } else if (bytes != 0 && !task.in_place) {
        std::memcpy(data, task.data.data(), bytes);
      }
      for (int64_t row = task.begin; row < task.end; ++row) {
        put_end(row, task.ends[static_cast<std::size_t>(row - task.begin)]);
      }
      task.ends = {};
      return;
    }
    int64_t bytes = 0;
    for (int64_t row = task.begin; row < task.end; ++row) {
      const std::string_view text = column[row];
      if (!text.empty()) std::memcpy(data + bytes, text.data(), text.size());
      bytes += static_cast<int64_t>(text.size());
      put_end(row, bytes);
    }
  }

  const std::vector<arrow::StringColumn>& chunks_;
  std::vector<Task>& tasks_;
  std::vector<TransformedChunk>& results_;
  const std::size_t threads_;
  std::mutex order_;  // of what follows, and of the places of tasks
  std::vector<State> states_;
  std::unordered_map<std::thread::id, Worker> workers_;
  std::vector<Placed> placed_;
  std::size_t next_ = 0;
  bool failed_ = false;
  std::condition_variable placed_more_;
  std::shared_mutex memory_;  // shared by those who copy to the outputs, exclusive to make them larger
};

// Validity, and offsets as narrow as the input's where they fit.
void complete(const arrow::StringColumn& column, TransformedChunk& result) {
  result.data.shrink();
  const auto rows = static_cast<std::size_t>(result.rows);
  result.wide = column.wide() || result.data.size() > static_cast<std::size_t>(std::numeric_limits<int32_t>::max());
  if (!result.wide) {
    // In place: the narrow offset at n lies below the wide one at n.
    char* offsets = result.offsets.data();
    for (std::size_t row = 0; row <= rows; ++row) {
      int64_t wide;
      std::memcpy(&wide, offsets + row * sizeof(wide), sizeof(wide));
      const auto narrow = static_cast<int32_t>(wide);
      std::memcpy(offsets + row * sizeof(narrow), &narrow, sizeof(narrow));
    }
    result.offsets.commit(offsets + (rows + 1) * sizeof(int32_t));
  }
  for (int64_t row = 0; row < result.rows; ++row) {
    if (!column.is_null(row)) continue;
    if (result.nulls++ == 0) {
      char* bits = result.validity.room((rows + 7) / 8);
      std::memset(bits, 0xFF, (rows + 7) / 8);
      result.validity.commit(bits + (rows + 7) / 8);
    }
    result.validity.data()[row >> 3] &= static_cast<char>(~(1 << (row & 7)));
  }
}

}  // namespace

void release_kept_memory() {
  SpareTaskBuffers::shared().release();
  release_spare_blocks();
}

int64_t TransformedChunk::offset(int64_t row) const {
  const char* const at = offsets.data() + static_cast<std::size_t>(row) * (wide ? sizeof(int64_t) : sizeof(int32_t));
  int64_t in_wide = 0;
  int32_t in_narrow = 0;
  wide ? std::memcpy(&in_wide, at, sizeof(in_wide)) : std::memcpy(&in_narrow, at, sizeof(in_narrow));
  return wide ? in_wide : in_narrow;
}

std::vector<TransformedChunk> transform_columns(const std::vector<arrow::StringColumn>& chunks,
                                                const TransformFactory& factory, const TransformOptions& options) {
  std::vector<Task> tasks;
  std::vector<int64_t> row_bases;
  int64_t row_base = 0;
  for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    const std::vector<int64_t> starts = arrow::split_rows(chunks[chunk], kTaskBytes);
    for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
      tasks.emplace_back(chunk, starts[i], starts[i + 1]);
    }
    row_bases.push_back(row_base);
    row_base += chunks[chunk].size();
  }

  std::vector<TransformedChunk> results(chunks.size());
  Joiner joiner(chunks, tasks, options.threads, results);
  parallel_for(tasks.size(), options.threads, [&](std::size_t i) {
    Task& task = tasks[i];
    Worker& worker = joiner.begin(i);
    try {
      if (worker.transform == nullptr) worker.transform = factory();
      TaskRunner(task, chunks[task.chunk], row_bases[task.chunk], *worker.transform, options).run();
      joiner.finish(i, worker);
    } catch (...) {
      joiner.fail();
      throw;
    }
  });
  joiner.close();
  for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    if (results[chunk].changed) complete(chunks[chunk], results[chunk]);
  }
  return results;
}

}  // namespace smolfast::text
