// Judges by the same rules that nobody uses now: what they remember of words, and their memory, serves the next column.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "filters/judge.h"

namespace smolfast::filters {

// For any number of threads.
class JudgePool {
 public:
  JudgePool(Rules rules, std::string words, std::string language)
      : rules_(std::move(rules)), words_(std::move(words)), language_(std::move(language)) {}

  std::unique_ptr<Judge> take() {
    {
      const std::lock_guard<std::mutex> hold(lock_);
      if (!spare_.empty()) {
        std::unique_ptr<Judge> judge = std::move(spare_.back());
        spare_.pop_back();
        return judge;
      }
    }
    return std::make_unique<Judge>(rules_, make_word_source(words_, language_));
  }
  void give_back(std::unique_ptr<Judge> judge) {
    const std::lock_guard<std::mutex> hold(lock_);
    spare_.push_back(std::move(judge));
  }

 private:
  const Rules rules_;
  const std::string words_;
  const std::string language_;
  std::mutex lock_;
  std::vector<std::unique_ptr<Judge>> spare_;
};

}  // namespace smolfast::filters
