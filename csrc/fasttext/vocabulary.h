// A model's words, labels and kept n-grams, looked up as fastText does.
#pragma once

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

  // Reads the entries and the kept n-grams. Borrows the file's bytes.
  static Vocabulary read(Reader& reader);

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
  int64_t kept() const { return kept_; }
  // The place among the n-grams' rows of bucket `id`, or kAbsent.
  int32_t bucket_row(uint32_t id) const {
    if (kept_ < 0) return static_cast<int32_t>(id);
    if (((filter_[(id & filter_mask_) >> 6] >> (id & 63)) & 1) == 0) return kAbsent;
    for (std::size_t at = mix(id) & kept_mask_;; at = (at + 1) & kept_mask_) {
      const Kept& kept = kept_rows_[at];
      if (kept.row == kAbsent || kept.bucket == id) return kept.row;
    }
  }
  // The largest row that bucket_row gives, or -1; of pruned ones.
  int32_t last_kept_row() const { return last_kept_row_; }

 private:
  struct Slot {
    uint32_t hash;
    int32_t id;
  };
  struct Kept {
    uint32_t bucket;
    int32_t row;
  };
  static std::size_t mix(uint32_t id) { return static_cast<std::size_t>((id * uint64_t{0x9E3779B97F4A7C15u}) >> 32); }
  void index_entries();
  void index_kept(const char* pairs);

  std::vector<std::string_view> entries_;
  std::vector<int64_t> counts_;
  std::vector<Slot> slots_;
  std::size_t slot_mask_ = 0;
  int32_t words_ = 0;
  int64_t tokens_ = 0;
  int64_t kept_ = -1;
  int32_t last_kept_row_ = -1;
  std::vector<Kept> kept_rows_;
  std::size_t kept_mask_ = 0;
  std::vector<uint64_t> filter_;  // a bit for what may be kept: most n-grams aren't
  uint32_t filter_mask_ = 0;
};

}  // namespace smolfast::fasttext
