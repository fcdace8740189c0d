// Columns of documents judged on several threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arrow/column.h"
#include "filters/judge_pool.h"
#include "text/transform.h"

namespace smolfast::filters {

struct JudgedColumns {
  std::vector<std::string> reasons;
  std::vector<std::string> signals;
  bool rewrites = false;
  // A row's verdict, kNullRow for null. The rows of all chunks one after another.
  std::vector<int32_t> verdicts;
  std::vector<std::vector<double>> measured;  // of each signal its rows; empty if not wanted
  arrow::StringBuilder texts;                 // as they stood when decided; only if a filter rewrites
};
constexpr int32_t kNullRow = -1;

struct JudgeOptions {
  int threads = 0;
  bool signals = false;
  text::InvalidUtf8 invalid = text::InvalidUtf8::kFail;
  bool known_valid = false;
  // The rows' words, where they come from elsewhere: of all rows, and how many there are up to each row's end.
  const arrow::StringColumn* tokens = nullptr;
  const int64_t* token_ends = nullptr;
};

// The result doesn't depend on the threads. Throws Error for a row that isn't UTF-8 (unless it is to be repaired) or is
// of 4 GiB or more.
JudgedColumns judge_columns(const std::vector<arrow::StringColumn>& chunks, JudgePool& judges,
                            const JudgeOptions& options);

}  // namespace smolfast::filters
