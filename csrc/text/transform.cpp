#include "text/transform.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "text/utf8.h"

namespace smolfast::text {
namespace {

// A task's output stays in the second-level cache until it is joined.
constexpr int64_t kTaskBytes = int64_t{1} << 18;
// Rows are checked for valid UTF-8 in groups of about this size, so that they're still in cache when transformed.
constexpr int64_t kCheckBytes = int64_t{1} << 15;

struct Task {
  std::size_t chunk;
  int64_t begin;
  int64_t end;
  // Filled by running it.
  bool changed = false;
  Buffer data;
  std::vector<int64_t> ends;  // of each row in `data`; only if changed
};

// The operations in use by threads, given out and taken back, so that scratch memory is kept between tasks.
class TransformPool {
 public:
  explicit TransformPool(const TransformFactory& factory) : factory_(factory) {}
  std::unique_ptr<Transform> take() {
    {
      const std::lock_guard<std::mutex> hold(lock_);
      if (!idle_.empty()) {
        auto last = std::move(idle_.back());
        idle_.pop_back();
        return last;
      }
    }
    return factory_();
  }
  void give_back(std::unique_ptr<Transform> transform) {
    const std::lock_guard<std::mutex> hold(lock_);
    idle_.push_back(std::move(transform));
  }

 private:
  const TransformFactory& factory_;
  std::mutex lock_;
  std::vector<std::unique_ptr<Transform>> idle_;
};

// Runs one task: rows are copied to the output only from the first change on.
class TaskRunner {
 public:
  TaskRunner(Task& task, const arrow::StringColumn& column, int64_t row_base, Transform& transform,
             const TransformOptions& options)
      : task_(task), column_(column), row_base_(row_base), transform_(transform), options_(options) {}

  void run() {
    if (options_.always_build) start_output(task_.begin);
    int64_t checked = task_.begin;
    bool group_valid = true;
    for (int64_t row = task_.begin; row < task_.end; ++row) {
      if (row == checked && !options_.known_valid) {
        checked = group_end(row);
        group_valid = is_group_valid(row, checked);
      }
      if (column_.is_null(row)) {
        if (task_.changed) end_row();
        continue;
      }
      const std::string_view text = column_[row];
      if (group_valid || options_.known_valid || is_valid_utf8(text)) {
        run_row(row, text);
        continue;
      }
      if (options_.invalid == InvalidUtf8::kFail) {
        throw Error("row " + std::to_string(row_base_ + row) + " is not UTF-8 at byte " +
                    std::to_string(first_invalid_byte(text)) +
                    "; pass errors=\"replace\" to put U+FFFD there, or repair the column");
      }
      repaired_.clear();
      append_repaired(text, repaired_);
      start_output(row);
      if (!transform_.run(repaired_.view(), task_.data)) task_.data.append(repaired_.view());
      end_row();
    }
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

  void run_row(int64_t row, std::string_view text) {
    const std::size_t before = task_.data.size();
    if (transform_.run(text, task_.data)) {
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
      task_.data.commit(task_.data.data() + before);
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

  void end_row() { task_.ends.push_back(static_cast<int64_t>(task_.data.size())); }

  Task& task_;
  const arrow::StringColumn& column_;
  const int64_t row_base_;
  Transform& transform_;
  const TransformOptions& options_;
  Buffer repaired_;
  Buffer first_;
};

// Puts finished tasks together in order, whichever finishes first: a task's bytes are copied to their chunk's output
// while they're still in cache, and its buffer is used again by the next task. So memory is the output and a few tasks'
// worth.
class Joiner {
 public:
  Joiner(const std::vector<arrow::StringColumn>& chunks, std::vector<Task>& tasks,
         std::vector<TransformedChunk>& results)
      : chunks_(chunks), tasks_(tasks), results_(results), finished_(tasks.size(), 0) {}

  Buffer take_buffer() {
    const std::lock_guard<std::mutex> hold(lock_);
    if (idle_.empty()) return {};
    Buffer last = std::move(idle_.back());
    idle_.pop_back();
    return last;
  }

  void finish(std::size_t task) {
    const std::lock_guard<std::mutex> hold(lock_);
    finished_[task] = 1;
    for (; next_ < tasks_.size() && finished_[next_] != 0; ++next_) {
      Task& ready = tasks_[next_];
      join(ready, chunks_[ready.chunk], results_[ready.chunk]);
      ready.data.clear();
      idle_.push_back(std::move(ready.data));
      ready.ends = {};
    }
  }

 private:
  static void join(const Task& task, const arrow::StringColumn& column, TransformedChunk& result) {
    if (!task.changed && !result.changed) return;
    if (!result.changed) {
      result.changed = true;
      result.rows = column.size();
      result.data.room(static_cast<std::size_t>(column.bytes(0, column.size())));
      result.offsets.room((static_cast<std::size_t>(result.rows) + 1) * sizeof(int64_t));
      append_offset(result, 0);
      copy_rows(column, 0, task.begin, result);
    }
    if (!task.changed) {
      copy_rows(column, task.begin, task.end, result);
      return;
    }
    const auto base = static_cast<int64_t>(result.data.size());
    result.data.append(task.data.view());
    for (const int64_t end : task.ends) append_offset(result, base + end);
  }

  static void append_offset(TransformedChunk& result, int64_t offset) {
    char* to = result.offsets.room(sizeof(offset));
    std::memcpy(to, &offset, sizeof(offset));
    result.offsets.commit(to + sizeof(offset));
  }

  static void copy_rows(const arrow::StringColumn& column, int64_t begin, int64_t end, TransformedChunk& result) {
    for (int64_t row = begin; row < end; ++row) {
      if (!column.is_null(row)) result.data.append(column[row]);
      append_offset(result, static_cast<int64_t>(result.data.size()));
    }
  }

  const std::vector<arrow::StringColumn>& chunks_;
  std::vector<Task>& tasks_;
  std::vector<TransformedChunk>& results_;
  std::vector<uint8_t> finished_;
  std::size_t next_ = 0;
  std::vector<Buffer> idle_;
  std::mutex lock_;
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

std::vector<TransformedChunk> transform_columns(const std::vector<arrow::StringColumn>& chunks,
                                                const TransformFactory& factory, const TransformOptions& options) {
  std::vector<Task> tasks;
  std::vector<int64_t> row_bases;
  int64_t row_base = 0;
  for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    const std::vector<int64_t> starts = arrow::split_rows(chunks[chunk], kTaskBytes);
    for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
      tasks.push_back(Task{.chunk = chunk, .begin = starts[i], .end = starts[i + 1]});
    }
    row_bases.push_back(row_base);
    row_base += chunks[chunk].size();
  }

  std::vector<TransformedChunk> results(chunks.size());
  TransformPool pool(factory);
  Joiner joiner(chunks, tasks, results);
  parallel_for(tasks.size(), options.threads, [&](std::size_t i) {
    Task& task = tasks[i];
    task.data = joiner.take_buffer();
    std::unique_ptr<Transform> transform = pool.take();
    TaskRunner(task, chunks[task.chunk], row_bases[task.chunk], *transform, options).run();
    pool.give_back(std::move(transform));
    joiner.finish(i);
  });
  for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    if (results[chunk].changed) complete(chunks[chunk], results[chunk]);
  }
  return results;
}

}  // namespace smolfast::text
