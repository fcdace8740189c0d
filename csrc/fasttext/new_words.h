// Words whose rows are to be summed, several at once: while memory for one is on its way, the others go on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/aligned.h"
#include "fasttext/model.h"
#include "fasttext/subwords.h"
#include "fasttext/word_cache.h"

namespace smolfast::fasttext {

// What a model's vocabulary knows of a word.
struct KnownWord {
  WordFacts facts;  // without rows
  int32_t row;      // Vocabulary::kAbsent if it has none of its own
};
KnownWord known_word(const Model& model, std::string_view word, uint32_t hash);

class NewWords {
 public:
  static constexpr std::size_t kMost = 32;

  struct Word {
    std::string_view text;
    WordFacts facts;
    float* sum;
    bool done;  // false for what isn't UTF-8
  };

  explicit NewWords(const Model& model);

  // Adds one, of which kMost are taken at once. Returns its number.
  std::size_t push(std::string_view word);
  // Finds the facts and sums of all: first a word's own row, then its n-grams of characters by length and beginning.
  void sum_all(const Kernels& kernels);
  void clear() { count_ = 0; }
  std::size_t size() const { return count_; }
  Word& operator[](std::size_t number) { return words_[number]; }

 private:
  // Where a word stands among marked_'s characters.
  struct Span {
    std::size_t begin;
    std::size_t size;
  };

  void find_ngrams(const SubwordLoops& loops);
  void gather_rows(const SubwordLoops& loops);

  const Model& model_;
  std::size_t cols_;
  std::size_t count_ = 0;
  Word words_[kMost];
  int32_t own_[kMost];  // rows of words
  Span spans_[kMost];
  Marked marked_;
  VectorModulo bucket_;
  std::vector<NGrams> ngrams_;  // for each length
  AlignedFloats sums_;
  std::vector<int32_t> rows_;
  std::vector<float> row_;
};

}  // namespace smolfast::fasttext
