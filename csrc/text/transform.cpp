#include "text/transform.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "text/utf8.h"

namespace smolfast::text {
namespace {

constexpr int64_t kTaskBytes = int64_t{1} << 20;
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
        Buffer first;
        std::swap(first, task_.data);
        start_output(row);
        task_.data.append(first.view());
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
};

struct ChunkPlan {
  std::size_t first_task;
  std::size_t end_task;
  int64_t row_base;
};

// The place of each task's bytes in its chunk.
struct Joint {
  int64_t offset = 0;
};

template <typename Offset>
void write_offsets(const Task& task, const arrow::StringColumn& column, int64_t base, char* to) {
  auto* offsets = reinterpret_cast<Offset*>(to) + task.begin + 1;
  if (task.changed) {
    for (const int64_t end : task.ends) *offsets++ = static_cast<Offset>(base + end);
    return;
  }
  for (int64_t row = task.begin; row < task.end; ++row) {
    if (!column.is_null(row)) base += static_cast<int64_t>(column[row].size());
    *offsets++ = static_cast<Offset>(base);
  }
}

int64_t bytes_of_rows(const arrow::StringColumn& column, int64_t begin, int64_t end) {
  int64_t bytes = 0;
  for (int64_t row = begin; row < end; ++row) {
    if (!column.is_null(row)) bytes += static_cast<int64_t>(column[row].size());
  }
  return bytes;
}

void copy_rows(const arrow::StringColumn& column, int64_t begin, int64_t end, char* to) {
  for (int64_t row = begin; row < end; ++row) {
    if (column.is_null(row)) continue;
    const std::string_view text = column[row];
    if (!text.empty()) std::memcpy(to, text.data(), text.size());
    to += text.size();
  }
}

}  // namespace

std::vector<TransformedChunk> transform_columns(const std::vector<arrow::StringColumn>& chunks,
                                                const TransformFactory& factory, const TransformOptions& options) {
  std::vector<Task> tasks;
  std::vector<ChunkPlan> plans;
  int64_t row_base = 0;
  for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    ChunkPlan plan{tasks.size(), 0, row_base};
    const std::vector<int64_t> starts = arrow::split_rows(chunks[chunk], kTaskBytes);
    for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
      tasks.push_back(Task{.chunk = chunk, .begin = starts[i], .end = starts[i + 1]});
    }
    plan.end_task = tasks.size();
    plans.push_back(plan);
    row_base += chunks[chunk].size();
  }

  TransformPool pool(factory);
  parallel_for(tasks.size(), options.threads, [&](std::size_t i) {
    Task& task = tasks[i];
    std::unique_ptr<Transform> transform = pool.take();
    TaskRunner(task, chunks[task.chunk], plans[task.chunk].row_base, *transform, options).run();
    pool.give_back(std::move(transform));
  });

  // Where the parts go; then they're copied there, in parallel, each freed at once.
  std::vector<TransformedChunk> results(chunks.size());
  std::vector<Joint> joints(tasks.size());
  std::vector<std::size_t> to_copy;
  for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    TransformedChunk& result = results[chunk];
    const arrow::StringColumn& column = chunks[chunk];
    const ChunkPlan& plan = plans[chunk];
    for (std::size_t i = plan.first_task; i < plan.end_task; ++i) result.changed = result.changed || tasks[i].changed;
    result.changed = result.changed || options.always_build;
    if (!result.changed) continue;
    int64_t bytes = 0;
    for (std::size_t i = plan.first_task; i < plan.end_task; ++i) {
      joints[i].offset = bytes;
      bytes += tasks[i].changed ? static_cast<int64_t>(tasks[i].data.size())
                                : bytes_of_rows(column, tasks[i].begin, tasks[i].end);
    }
    result.rows = column.size();
    result.wide = column.wide() || bytes > std::numeric_limits<int32_t>::max();
    const std::size_t offset_size = result.wide ? sizeof(int64_t) : sizeof(int32_t);
    char* offsets = result.offsets.room((static_cast<std::size_t>(result.rows) + 1) * offset_size);
    std::memset(offsets, 0, offset_size);
    result.offsets.commit(offsets + (static_cast<std::size_t>(result.rows) + 1) * offset_size);
    for (int64_t row = 0; row < result.rows; ++row) {
      if (!column.is_null(row)) continue;
      if (result.nulls++ == 0) {
        char* bits = result.validity.room(static_cast<std::size_t>(result.rows + 7) / 8);
        std::memset(bits, 0xFF, static_cast<std::size_t>(result.rows + 7) / 8);
        result.validity.commit(bits + (result.rows + 7) / 8);
      }
      result.validity.data()[row >> 3] &= static_cast<char>(~(1 << (row & 7)));
    }
    if (plan.end_task - plan.first_task == 1 && tasks[plan.first_task].changed) {
      result.data = std::move(tasks[plan.first_task].data);
      result.data.shrink();
    } else {
      result.data.commit(result.data.room(static_cast<std::size_t>(bytes)) + bytes);
    }
    for (std::size_t i = plan.first_task; i < plan.end_task; ++i) to_copy.push_back(i);
  }
  parallel_for(to_copy.size(), options.threads, [&](std::size_t at) {
    Task& task = tasks[to_copy[at]];
    TransformedChunk& result = results[task.chunk];
    const arrow::StringColumn& column = chunks[task.chunk];
    const int64_t base = joints[to_copy[at]].offset;
    if (result.wide) {
      write_offsets<int64_t>(task, column, base, result.offsets.data());
    } else {
      write_offsets<int32_t>(task, column, base, result.offsets.data());
    }
    if (!task.changed) {
      copy_rows(column, task.begin, task.end, result.data.data() + base);
    } else if (task.data.size() != 0) {
      std::memcpy(result.data.data() + base, task.data.data(), task.data.size());
    }
    task.data = Buffer();
    task.ends = {};
  });
  return results;
}

}  // namespace smolfast::text
