#include "filters/columns.h"

#include <algorithm>
#include <mutex>
#include <optional>

#include "base/error.h"
#include "base/threads.h"
#include "text/utf8.h"

namespace smolfast::filters {
namespace {

constexpr int64_t kTaskBytes = int64_t{1} << 19;

struct Task {
  const arrow::StringColumn* column;
  int64_t begin;
  int64_t end;
  int64_t base;  // rows of the chunks before
};

// The texts of tasks on their way out. What a task left is copied once those before it are, and its memory goes to the
// next task: so it's warm, and there is little of it.
class TextsInOrder {
 public:
  struct Texts {
    text::Buffer bytes;
    std::vector<std::size_t> ends;
  };

  TextsInOrder(const std::vector<Task>& tasks, int64_t rows, int64_t bytes, arrow::StringBuilder& out)
      : tasks_(tasks), done_(tasks.size()), out_(out) {
    out.reserve(rows, bytes);
  }

  Texts take() {
    const std::lock_guard<std::mutex> hold(lock_);
    if (spare_.empty()) return {};
    Texts texts = std::move(spare_.back());
    spare_.pop_back();
    texts.bytes.clear();
    texts.ends.clear();
    return texts;
  }
  void give(std::size_t task, Texts texts) {
    const std::lock_guard<std::mutex> hold(lock_);
    done_[task] = std::move(texts);
    for (; next_ < tasks_.size() && done_[next_]; ++next_) {
      copy(tasks_[next_], *done_[next_]);
      spare_.push_back(std::move(*done_[next_]));
      done_[next_].reset();
    }
  }

 private:
  void copy(const Task& task, const Texts& texts) {
    std::size_t begin = 0;
    for (int64_t row = task.begin; row < task.end; ++row) {
      const std::size_t end = texts.ends[static_cast<std::size_t>(row - task.begin)];
      if (task.column->is_null(row)) {
        out_.append_null();
      } else {
        out_.append(texts.bytes.view().substr(begin, end - begin));
      }
      begin = end;
    }
  }

  const std::vector<Task>& tasks_;
  std::vector<std::optional<Texts>> done_;
  arrow::StringBuilder& out_;
  std::mutex lock_;
  std::size_t next_ = 0;
  std::vector<Texts> spare_;
};

// A row's words, joined by nothing.
void read_tokens(const JudgeOptions& options, std::size_t row, text::Buffer& joined, Judge::GivenWords& given) {
  joined.clear();
  joined.room(0);
  given.words.clear();
  for (int64_t i = row == 0 ? 0 : options.token_ends[row - 1]; i < options.token_ends[row]; ++i) {
    const auto begin = static_cast<uint32_t>(joined.size());
    joined.append((*options.tokens)[i]);
    given.words.push_back({begin, static_cast<uint32_t>(joined.size())});
  }
  given.text = joined.view();
}

}  // namespace

JudgedColumns judge_columns(const std::vector<arrow::StringColumn>& chunks, JudgePool& judges,
                            const JudgeOptions& options) {
  JudgedColumns judged;
  std::vector<Task> tasks;
  int64_t rows = 0;
  int64_t bytes = 0;
  for (const arrow::StringColumn& column : chunks) {
    bytes += column.bytes(0, column.size());
    const std::vector<int64_t> starts = arrow::split_rows(column, kTaskBytes);
    for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
      tasks.push_back({&column, starts[i], starts[i + 1], rows});
    }
    rows += column.size();
  }
  {
    std::unique_ptr<Judge> first = judges.take();
    judged.reasons = first->reasons();
    judged.signals = first->signals();
    judged.rewrites = first->rewrites();
    judges.give_back(std::move(first));
  }
  judged.verdicts.assign(static_cast<std::size_t>(rows), kNullRow);
  if (options.signals) {
    judged.measured.assign(judged.signals.size(), std::vector<double>(static_cast<std::size_t>(rows), kUnmeasured));
  }

  TextsInOrder out(tasks, judged.rewrites ? rows : 0, judged.rewrites ? bytes : 0, judged.texts);

  parallel_for(tasks.size(), options.threads, [&](std::size_t number) {
    const Task& task = tasks[number];
    TextsInOrder::Texts texts = out.take();
    std::unique_ptr<Judge> judge = judges.take();
    std::vector<double> signals(judged.signals.size());
    text::Buffer repaired;
    text::Buffer token_text;
    Judge::GivenWords given;
    std::size_t longest = 0;
    for (int64_t row = task.begin; row < task.end; ++row) {
      if (!task.column->is_null(row)) {
        const auto at = static_cast<std::size_t>(task.base + row);
        std::string_view text = (*task.column)[row];
        if (text.size() >= uint64_t{1} << 32) {
          throw Error("row " + std::to_string(at) + " is of 4 GiB or more, and a document may be less; split it");
        }
        if (!options.known_valid && !text::is_valid_utf8(text)) {
          if (options.invalid == text::InvalidUtf8::kFail) {
            throw Error("row " + std::to_string(at) + " is not UTF-8 at byte " +
                        std::to_string(text::first_invalid_byte(text)) +
                        "; pass errors=\"replace\" to put U+FFFD there, or repair the column");
          }
          repaired.clear();
          text::append_repaired(text, repaired);
          text = repaired.view();
        }
        longest = std::max(longest, text.size());
        if (options.tokens != nullptr) read_tokens(options, at, token_text, given);
        judged.verdicts[at] = judge->judge(text, options.signals ? signals.data() : nullptr,
                                           options.tokens != nullptr ? &given : nullptr);
        for (std::size_t i = 0; i < judged.measured.size(); ++i) judged.measured[i][at] = signals[i];
        if (judged.rewrites) texts.bytes.append(judge->text());
      }
      if (judged.rewrites) texts.ends.push_back(texts.bytes.size());
    }
    if (longest <= kTaskBytes) judges.give_back(std::move(judge));  // else its memory isn't worth keeping
    if (judged.rewrites) out.give(number, std::move(texts));
  });
  return judged;
}

}  // namespace smolfast::filters
