// Repeated n-grams of words, as Gopher's repetition filter counts them.
//
// Only places that may be repeated are looked at: a small table counts hashes without a look at the bytes, and where a
// count stays at 1, nothing equal can be anywhere. The rest goes through tables that compare bytes, so the numbers are
// exact. In ordinary text that is one place in eight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "filters/range_set.h"
#include "text/buffer.h"
#include "text/word.h"

namespace smolfast::filters {

class NGrams {
 public:
  static constexpr std::size_t kMostWords = 64;  // of an n-gram

  // Takes a document's words.
  void reset(std::string_view text, const std::vector<text::Word>& words);

  // The characters of the n-gram that occurs most often (of the first seen among several), joined by spaces, times its
  // count; 0 if there are fewer than n words.
  std::size_t top(std::size_t n);
  // The characters of n-grams, joined by nothing, that equal one before. After such a one the next n words are passed
  // over. `least` is the smallest n that will be asked for.
  std::size_t duplicated(std::size_t n, std::size_t least);

  // All words, joined by nothing.
  std::string_view squeezed() const { return squeezed_.view(); }

 private:
  std::size_t size() const { return offsets_.size() - 1; }
  std::string_view gram(std::size_t first, std::size_t n) const {
    return {squeezed_.data() + offsets_[first], offsets_[first + n] - offsets_[first]};
  }
  bool same_words(std::size_t a, std::size_t b, std::size_t n) const;
  std::size_t top_joined(std::size_t n);
  void find_places(std::size_t least);
  template <typename Hash>
  void count_hashes(std::size_t places, Hash&& hash);
  bool is_repeated(uint64_t hash) const { return counts_[hash & (counts_.size() - 1)] > 1; }

  text::Buffer squeezed_;
  std::vector<uint32_t> offsets_;  // of words in squeezed_, and its end
  std::vector<uint64_t> hashes_;   // of words
  bool spaced_ = false;            // a word holds a space
  RangeSet seen_;
  std::vector<uint8_t> counts_;
  std::vector<uint32_t> repeated_;  // where words begin that may be an n-gram that occurs twice, for repeated_n_
  std::vector<uint64_t> grams_;     // the hashes of those n-grams
  std::size_t repeated_n_ = 0;
  std::vector<uint32_t> places_;  // where n-grams of places_least_ words or more may be joined to something seen twice
  std::size_t places_least_ = 0;
  text::Buffer joined_;
  std::vector<uint32_t> joined_offsets_;
};

}  // namespace smolfast::filters
