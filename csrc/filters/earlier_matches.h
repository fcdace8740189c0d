// How far the bytes from each word on equal those from some word before, found as LZ77 finds it: places that share
// their first bytes are chained, and compared. From it follows a bound of what repeated n-grams cover.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace smolfast::filters {

class EarlierMatches {
 public:
  static constexpr std::size_t kLeastWords = 5;  // of an n-gram
  static constexpr std::size_t kMostWords = 16;
  static constexpr std::size_t kReadable = 32;  // bytes that can be read behind the last word

  // Takes words joined by nothing, where each begins, and where the last one ends.
  void find(const char* squeezed, std::span<const uint32_t> offsets);
  // No less than the bytes of all n-grams that equal one before, those that overlap counted once; and no less than
  // their characters, where bytes are too many.
  // Between kLeastWords and kMostWords.
  std::size_t bytes_bound(std::size_t n) const;
  std::size_t characters_bound(std::size_t n) const;

  // Puts the places into `places`, in order, where an n-gram of kLeastWords or more may equal one elsewhere.
  void find_shared(std::vector<uint32_t>& places);

 private:
  // The latest place of each hash, and for each place the one before. A number below base_ is of a text before.
  struct Chains {
    std::vector<uint32_t> latest;
    std::vector<uint32_t> before;
  };
  // n-grams from `first` on, of up to so many words, may equal one before.
  struct Match {
    uint32_t first;
    uint32_t words;
  };

  std::size_t longest_match(const Chains& chains, uint32_t place, std::size_t enough) const;
  template <typename Body>
  void each_stretch(std::size_t n, Body&& body) const;

  const char* squeezed_ = nullptr;
  std::span<const uint32_t> offsets_;
  Chains chains_;
  Chains short_chains_;  // of n-grams of few bytes
  uint32_t base_ = 1;
  uint32_t next_base_ = 1;
  std::vector<uint32_t> candidates_;
  std::size_t candidate_count_ = 0;
  std::vector<Match> matches_;
  std::vector<uint8_t> shared_;
};

}  // namespace smolfast::filters
