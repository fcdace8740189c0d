// Repeated n-grams of words, as Gopher's repetition filter counts them.
//
// First comes a bound that costs little. A small table counts hashes of pairs of words without a look at the bytes: no
// n-gram is there more often than the pair that it begins with. What equals something before is bounded by matches
// (earlier_matches.h). In ordinary text the bounds are enough. Only where they aren't are n-grams counted exactly, in
// tables that compare bytes, so that no collision of hashes changes a number; and of those only the ones that matter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "filters/earlier_matches.h"
#include "filters/range_set.h"
#include "text/buffer.h"
#include "text/measured_words.h"

namespace smolfast::filters {

class NGrams {
 public:
  static constexpr std::size_t kMostWords = 64;  // of an n-gram

  // Takes a document's words.
  void reset(std::string_view text, const text::MeasuredWords& words);

  // The characters of the n-gram that occurs most often (of the first seen among several), joined by spaces, times its
  // count; 0 if there are fewer than n words.
  std::size_t top(std::size_t n);
  // Whether that is more than `most`.
  bool top_exceeds(std::size_t n, std::size_t most);

  // The characters of n-grams, joined by nothing, that equal one before. After such a one the next n words are passed
  // over.
  std::size_t duplicated(std::size_t n);
  // Whether they are more than `most`: read no further than decides.
  bool duplicated_exceeds(std::size_t n, std::size_t most);

 private:
  std::size_t size() const { return offsets_.size() - 1; }
  std::size_t bytes_of(std::size_t first, std::size_t n) const { return offsets_[first + n] - offsets_[first]; }
  std::string_view gram(std::size_t first, std::size_t n) const {
    return {squeezed_.data() + offsets_[first], bytes_of(first, n)};
  }
  std::size_t start_slot(std::size_t first) const;
  std::size_t start_count(std::size_t first) const;
  void count_starts(std::size_t words);
  template <typename Wanted>
  void choose_places(std::size_t n, Wanted&& wanted);
  bool same_words(std::size_t a, std::size_t b, std::size_t n) const;
  const RangeSet::Entry* count_places(std::size_t n);
  std::size_t top_of(const RangeSet::Entry& entry, std::size_t n) const;
  std::size_t top_joined(std::size_t n);
  const EarlierMatches& matches();
  void find_places(std::size_t n);
  std::size_t count_duplicated(std::size_t n, std::size_t most);
  void grow_slots(std::size_t n);

  static constexpr std::size_t kBoundTo = 4;
  static constexpr std::size_t kMostCounted = 0xFFFF;
  static constexpr std::size_t kFirstSlots = 8192;

  text::Buffer squeezed_;             // all words, joined by nothing
  std::vector<uint32_t> offsets_;     // of words in squeezed_, and its end
  std::span<const uint32_t> hashes_;  // of words
  bool spaced_ = false;               // a word holds a space
  // How often the first words of n-grams are there, by their hash, and how many words these are: one or two.
  std::vector<uint16_t> counts_;
  std::size_t counted_words_ = 0;
  std::size_t start_bound_ = 0;  // no less than the top of two to kBoundTo words
  RangeSet seen_;
  EarlierMatches matches_;
  bool has_matches_ = false;
  std::vector<uint32_t> places_;
  std::size_t places_n_ = 0;  // of duplicated n-grams, 0: of something else
  std::vector<uint64_t> slots_;
  text::Buffer joined_;
  std::vector<uint32_t> joined_offsets_;
};

}  // namespace smolfast::filters
