// A model's words, labels and kept n-grams, looked up as fastText does.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

#include "fasttext/hash.h"

namespace smolfast::fasttext {

class Reader;

inline constexpr std::string_view kEndOfLine = "</s>";
inline constexpr std::string_view kLabelPrefix = "__label__";

class Vocabulary {
 public:
  static constexpr int32_t kAbsent = -1;

  // Reads the entries and the kept ones of so many n-grams' buckets. Borrows the file's bytes.
  static Vocabulary read(Reader& reader, int32_t buckets);

  int32_t words() const { return words_; }
  int32_t labels() const { return static_cast<int32_t>(entries_.size()) - words_; }
  // Those of a word or, from words() on, of a label.
  std::string_view entry(int32_t id) const { return entries_[static_cast<std::size_t>(id)]; }
  int64_t count(int32_t id) const { return counts_[static_cast<std::size_t>(id)]; }
  int64_t tokens() const { return tokens_; }
  // A word's or label's number, by its FNV hash too.
  int32_t find(std::string_view word, uint32_t hash) const {
    for (std::size_t at = hash & slot_mask_;; at = (at + 1) & slot_mask_) {
      const Slot& slot = slots_[at];
      if (slot.id == kAbsent) return kAbsent;
      if (slot.hash == hash && entry(slot.id) == word) return slot.id;
    }
  }

  // Whether n-grams' rows were thrown out but for some.
  bool pruned() const { return kept_ >= 0; }
  // Whether bucket `id` has a row, of a pruned vocabulary.
  uint32_t keeps(uint32_t id) const { return static_cast<uint32_t>(kept_bits_[id >> 6] >> (id & 63)) & 1u; }
  // That row's place among the n-grams' rows: by how many kept buckets stand before it.
  int32_t kept_row(uint32_t id) const {
    const uint64_t before = kept_bits_[id >> 6] & ((uint64_t{1} << (id & 63)) - 1);
    return kept_rows_[kept_before_[id >> 6] + static_cast<uint32_t>(std::popcount(before))];
  }
  // The largest place that kept_row gives, or -1.
  int32_t last_kept_row() const { return last_kept_row_; }

 private:
  struct Slot {
    uint32_t hash;
    int32_t id;
  };
  void index_entries();
  void index_kept(Reader& reader, int32_t buckets);

  std::vector<std::string_view> entries_;
  std::vector<int64_t> counts_;
  std::vector<Slot> slots_;
  std::size_t slot_mask_ = 0;
  int32_t words_ = 0;
  int64_t tokens_ = 0;
  int64_t kept_ = -1;
  int32_t last_kept_row_ = -1;
  std::vector<uint64_t> kept_bits_;    // a bit a bucket
  std::vector<uint32_t> kept_before_;  // for each 64 buckets how many kept ones come before
  std::vector<int32_t> kept_rows_;
};

}  // namespace smolfast::fasttext
