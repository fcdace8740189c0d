// Repeated n-grams of words, as Gopher's repetition filter counts them.
//
// Only places that may be repeated are looked at. A small table counts hashes without a look at the bytes: where a
// count stays at 1, nothing equal can be anywhere. From the counts follows a bound, and in ordinary text the bound is
// enough. Only where it isn't are n-grams counted exactly, in a table that compares bytes, so that no collision of
// hashes changes a number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

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
  // No less than that, and found faster.
  std::size_t top_bound(std::size_t n);
  // Whether it can't be above what `fits` accepts, by the first bound that says so.
  template <typename Fits>
  bool top_fits(std::size_t n, Fits&& fits) {
    return fits(known_top_bound(n)) || fits(top_bound(n));
  }

  // The characters of n-grams, joined by nothing, that equal one before. After such a one the next n words are passed
  // over.
  std::size_t duplicated(std::size_t n);
  // Whether they are more than `most`: read no further than decides.
  bool duplicated_exceeds(std::size_t n, std::size_t most);

 private:
  static constexpr std::size_t kUnknown = std::numeric_limits<std::size_t>::max();

  std::size_t size() const { return offsets_.size() - 1; }
  std::size_t bytes_of(std::size_t first, std::size_t n) const { return offsets_[first + n] - offsets_[first]; }
  std::string_view gram(std::size_t first, std::size_t n) const {
    return {squeezed_.data() + offsets_[first], bytes_of(first, n)};
  }
  bool same_words(std::size_t a, std::size_t b, std::size_t n) const;
  std::size_t top_joined(std::size_t n);
  // A bound by what was counted for fewer words.
  std::size_t known_top_bound(std::size_t n) const;
  std::size_t bound_later(std::size_t n);
  bool ends_exceed(std::size_t n, std::size_t most);
  std::size_t count_duplicated(std::size_t n, std::size_t most);
  void find_repeated(std::size_t n);
  void keep_repeated();
  void find_places(std::size_t n);
  static std::size_t slots_for(std::size_t grams, std::size_t times);
  void grow_slots(std::size_t n);

  static constexpr std::size_t kMostCounted = 0xFFFF;
  static constexpr std::size_t kFirstSlots = 8192;

  text::Buffer squeezed_;             // all words, joined by nothing
  std::vector<uint32_t> offsets_;     // of words in squeezed_, and its end
  std::span<const uint32_t> hashes_;  // of words
  bool spaced_ = false;               // a word holds a space
  RangeSet seen_;
  std::vector<uint16_t> counts_;
  // Where words begin that may be an n-gram of repeated_n_ words that occurs twice, those n-grams' hashes, and how
  // often they occur at most.
  std::vector<uint32_t> repeated_;
  std::vector<uint32_t> grams_;
  std::vector<uint32_t> repeated_counts_;
  std::size_t repeated_n_ = 0;
  // Where n-grams of places_n_ words or more may be joined to something that is there twice, and which of those may
  // have one before.
  std::vector<uint32_t> places_;
  std::vector<uint32_t> later_;
  std::size_t places_n_ = 0;
  std::vector<uint32_t> left_;  // by place in later_: the bytes of these n-grams and those that follow, each byte once
  std::vector<uint32_t> windows_;
  std::vector<uint8_t> seen_windows_;
  std::vector<uint64_t> slots_;
  text::Buffer joined_;
  std::vector<uint32_t> joined_offsets_;
};

}  // namespace smolfast::filters
