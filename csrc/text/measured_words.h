// Words, and what is asked of each: a cutter that remembers words needn't measure them again.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/word.h"

namespace smolfast::text {

struct WordMeasure {
  uint32_t characters = 0;
  bool solid = false;     // holds something else than symbols
  bool lettered = false;  // holds a letter
};
// Not asked of words that begin with a letter of ASCII, nor of letters alone: they are solid and lettered.
using MeasureWord = WordMeasure (*)(std::string_view word);
inline WordMeasure measure_nothing(std::string_view) {
  return {};
}

class MeasuredWords {
 public:
  // Over all words.
  struct Sums {
    std::size_t solid = 0;
    std::size_t solid_characters = 0;
    std::size_t lettered = 0;

    void add(const WordMeasure& word) {
      solid += word.solid;
      solid_characters += word.solid ? word.characters : 0;
      lettered += word.lettered;
    }
    void subtract(const WordMeasure& word) {
      solid -= word.solid;
      solid_characters -= word.solid ? word.characters : 0;
      lettered -= word.lettered;
    }
  };

  std::span<const Word> words() const { return {words_.data(), size_}; }
  // By base/seeded_hash.h.
  std::span<const uint32_t> hashes() const { return {hashes_.data(), size_}; }
  std::size_t size() const { return size_; }
  const Word& operator[](std::size_t i) const { return words_[i]; }

  void clear() {
    size_ = 0;
    sums = {};
  }
  // Places for so many more words, which may be written before commit() says how many they are.
  void room(std::size_t more) {
    if (words_.size() < size_ + more) grow(size_ + more);
  }
  Word* next_word() { return words_.data() + size_; }
  uint32_t* next_hash() { return hashes_.data() + size_; }
  void commit(std::size_t words) { size_ += words; }
  void append(Word word, uint32_t hash, const WordMeasure& measure) {
    room(1);
    words_[size_] = word;
    hashes_[size_++] = hash;
    sums.add(measure);
  }

  Sums sums;

 private:
  void grow(std::size_t least) {
    const std::size_t size = std::max(least, words_.size() * 2);
    words_.resize(size);
    hashes_.resize(size);
  }

  std::vector<Word> words_;
  std::vector<uint32_t> hashes_;
  std::size_t size_ = 0;
};

}  // namespace smolfast::text
