// Distinct words and how often each comes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "arrow/column.h"
#include "base/seeded_hash.h"

namespace smolfast::bpe {

// A hash table of words. Their bytes lie one after another.
class WordCounts {
 public:
  WordCounts();
  void add(std::string_view word, uint64_t times);
  std::size_t size() const { return words_.size(); }
  std::string_view word(std::size_t i) const { return {bytes_.data() + words_[i].begin, words_[i].size}; }
  uint64_t times(std::size_t i) const { return words_[i].times; }

 private:
  struct Word {
    uint64_t begin;
    uint64_t size;
    uint64_t times;
  };
  struct Slot {
    uint64_t hash = 0;
    uint64_t number = 0;  // of the word, from 1 on; 0 for none
  };

  void grow();

  HashSeed seed_;
  std::vector<Slot> slots_;
  std::vector<Word> words_;
  std::vector<char> bytes_;
};

// Counts the words of texts, on several threads. What it finds doesn't depend on them, but for the order of the words.
class WordCounter {
 public:
  // A word of more than so many characters is taken in parts of that length.
  explicit WordCounter(int longest_word) : longest_word_(longest_word) {}

  // Adds the words of the rows; null rows have none. Throws Error with the row for one that isn't UTF-8, unless all are
  // known to be.
  void add(const std::vector<arrow::StringColumn>& chunks, bool known_valid, int threads);
  // All that was counted; nothing is left.
  WordCounts take();

 private:
  void add_text(std::string_view text, WordCounts& counts) const;

  const int longest_word_;
  std::mutex lock_;
  std::vector<std::unique_ptr<WordCounts>> free_;  // a thread takes one for as long as it counts
};

}  // namespace smolfast::bpe
