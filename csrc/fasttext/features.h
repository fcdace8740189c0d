// From a text to the rows that fastText averages: words, their n-grams of characters, n-grams of words.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned.h"
#include "fasttext/model.h"
#include "fasttext/new_words.h"
#include "fasttext/word_cache.h"

namespace smolfast::fasttext {

// Calls word(token) for each of a text's words, as fastText parts them, until it says false.
template <typename Word>
void for_each_token(std::string_view text, const Word& word) {
  constexpr std::string_view kSeparators(" \n\r\t\v\f\0", 7);
  for (std::size_t end = 0; end < text.size();) {
    const std::size_t begin = text.find_first_not_of(kSeparators, end);
    if (begin == std::string_view::npos) return;
    end = std::min(text.find_first_of(kSeparators, begin), text.size());
    if (!word(text.substr(begin, end - begin))) return;
  }
}

class Features {
 public:
  // Words are remembered in about so many bytes.
  explicit Features(const Model& model, std::size_t cache_bytes = 0);

  // Sums the rows of a text into sum(), word by word: the rows of each word, then the words. Returns how many rows.
  int64_t add_up(std::string_view text);
  // Whether the text that add_up saw says the same over and over. The errors of its sums then don't cancel out, and
  // another order gives another result.
  bool repetitive() const { return repetitive_; }
  // The same row after row, as fastText does: for where the last bit decides.
  int64_t add_up_in_order(std::string_view text);
  // As fastText does for models of words: the mean of the words' vectors, each of length 1, into sum().
  void average_words(std::string_view text);
  // What a phrase adds: the mean of the rows of its one word, or the row of its words' n-gram; zeros if there is none.
  void phrase_vector(std::string_view phrase, float* out);
  float* sum() { return sum_.get(); }
  float* row_scratch() { return row_.data(); }

  // The rows of a text in fastText's order.
  void rows_of(std::string_view text, std::vector<int32_t>& rows);

 private:
  // Words wait here until there are so many, and memory for one comes while others are worked on.
  static constexpr std::size_t kAtOnce = NewWords::kMost;
  struct Waiting {
    std::string_view word;
    WordCache::Key key;
    uint64_t hash;
    uint32_t place;
    const WordCache::Entry* entry;  // null if the cache doesn't have it
    std::size_t number;             // then among the new words
  };
  void look_up();
  void remember();
  template <typename Word>
  void for_each_word(std::string_view text, const Word& word);
  template <typename Taken>
  void rows_in_order(std::string_view text, std::vector<int32_t>& rows, const Taken& taken);
  void sum_new_words();
  WordFacts rows_of_word(std::string_view word, std::vector<int32_t>& rows);
  void push_buckets(std::size_t count, std::vector<int32_t>& rows);
  void prefetch_rows(const std::vector<int32_t>& rows, std::size_t from) const;
  void push_subwords(std::string_view word, std::vector<int32_t>& rows);
  void add_rows(float* sum);
  void push_word_ngrams(std::size_t from, std::vector<int32_t>& rows);

  const Model& model_;
  const Kernels* kernels_;
  Modulo bucket_;
  WordCache cache_;
  NewWords new_words_;
  Waiting waiting_[kAtOnce];
  std::size_t waiting_count_ = 0;
  bool repetitive_ = false;
  std::size_t cols_;
  AlignedFloats sum_;
  std::vector<float> row_;
  std::vector<int32_t> rows_;
  std::vector<uint32_t> buckets_;  // n-grams whose rows are yet to be found
  std::vector<int32_t> hashes_;    // of a text's words
  std::string marked_;             // a word between < and >
};

}  // namespace smolfast::fasttext
