// A model's words, labels and kept n-grams, looked up as fastText does.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/prefetch.h"
#include "fasttext/hash.h"
#include "fasttext/kept_buckets.h"

namespace smolfast::fasttext {

class Reader;

// An array, since the literal of a string_view has an address of its own in every file, and addresses are compared.
inline constexpr char kEndOfLineBytes[] = {'<', '/', 's', '>'};
inline constexpr std::string_view kEndOfLine{kEndOfLineBytes, sizeof kEndOfLineBytes};
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

  void prefetch_slot(uint32_t hash) const { prefetch(&slots_[hash & slot_mask_]); }

  // Whether n-grams' rows were thrown out but for some, which kept() has.
  bool pruned() const { return pruned_; }
  const KeptBuckets& kept() const { return kept_; }

 private:
  struct Slot {
    uint32_t hash;
    int32_t id;
  };
  void index_entries();

  std::vector<std::string_view> entries_;
  std::vector<int64_t> counts_;
  std::vector<Slot> slots_;
  std::size_t slot_mask_ = 0;
  int32_t words_ = 0;
  int64_t tokens_ = 0;
  bool pruned_ = false;
  KeptBuckets kept_;
};

}  // namespace smolfast::fasttext
