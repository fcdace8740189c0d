#include "bpe/word_counts.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/threads.h"
#include "bpe/pre_tokens.h"
#include "text/utf8.h"

namespace smolfast::bpe {
namespace {

constexpr int64_t kTaskBytes = int64_t{1} << 20;

}  // namespace

WordCounts::WordCounts() : seed_(draw_hash_seed()), slots_(std::size_t{1} << 12) {}

void WordCounts::add(std::string_view word, uint64_t times) {
  const uint64_t hash = hash_bytes(word, seed_);
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash & mask;
  for (; slots_[at].number != 0; at = (at + 1) & mask) {
    if (slots_[at].hash != hash) continue;
    const std::size_t number = slots_[at].number - 1;
    if (this->word(number) != word) continue;
    words_[number].times += times;
    return;
  }
  words_.push_back({bytes_.size(), word.size(), times});
  bytes_.insert(bytes_.end(), word.begin(), word.end());
  slots_[at] = {hash, words_.size()};
  if (words_.size() * 2 > slots_.size()) grow();
}

void WordCounts::grow() {
  std::vector<Slot> wider(slots_.size() * 2);
  const std::size_t mask = wider.size() - 1;
  for (const Slot& slot : slots_) {
    if (slot.number == 0) continue;
    std::size_t at = slot.hash & mask;
    while (wider[at].number != 0) at = (at + 1) & mask;
    wider[at] = slot;
  }
  slots_ = std::move(wider);
}

void WordCounter::add_text(std::string_view text, WordCounts& counts) const {
  const char* const end = text.data() + text.size();
  WordCutter<Pattern::kLlama3> words(end);
  for (const char* at = text.data(); at != end;) {
    const char* const past = words.next(at);
    while (at != past) {
      const char* const cut = part_end(at, past, longest_word_);
      counts.add({at, static_cast<std::size_t>(cut - at)}, 1);
      at = cut;
    }
  }
}

void WordCounter::add(const std::vector<arrow::StringColumn>& chunks, bool known_valid, int threads) {
  int64_t base = 0;
  for (const arrow::StringColumn& column : chunks) {
    const std::vector<int64_t> starts = arrow::split_rows(column, kTaskBytes);
    parallel_for(starts.size() - 1, threads, [&](std::size_t task) {
      std::unique_ptr<WordCounts> counts;
      {
        const std::lock_guard<std::mutex> hold(lock_);
        if (!free_.empty()) {
          counts = std::move(free_.back());
          free_.pop_back();
        }
      }
      if (counts == nullptr) counts = std::make_unique<WordCounts>();
      for (int64_t row = starts[task]; row < starts[task + 1]; ++row) {
        const std::string_view text = column[row];
        if (!known_valid && !text::is_valid_utf8(text)) {
          throw Error("row " + std::to_string(base + row) + " is not UTF-8 at byte " +
                      std::to_string(text::first_invalid_byte(text)) + "; repair the column");
        }
        if (!column.is_null(row)) add_text(text, *counts);
      }
      const std::lock_guard<std::mutex> hold(lock_);
      free_.push_back(std::move(counts));
    });
    base += column.size();
  }
}

WordCounts WordCounter::take() {
  WordCounts all;
  const std::lock_guard<std::mutex> hold(lock_);
  if (!free_.empty()) {
    all = std::move(*free_.front());
    for (std::size_t i = 1; i < free_.size(); ++i) {
      const std::unique_ptr<WordCounts> other = std::move(free_[i]);
      for (std::size_t word = 0; word < other->size(); ++word) all.add(other->word(word), other->times(word));
    }
  }
  free_.clear();
  return all;
}

}  // namespace smolfast::bpe
