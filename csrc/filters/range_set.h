// Stretches of bytes seen so far: an open-addressing table of hashes, each hit verified by the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/seeded_hash.h"

namespace smolfast::filters {

class RangeSet {
 public:
  struct Entry {
    uint64_t hash;
    std::string_view bytes;
    uint64_t count;
    std::size_t tag;  // the caller's
  };

  // Forgets all. Of `most` stretches at most are different ones; room is made as they come.
  void reset(std::size_t most) {
    std::size_t slots = 16;
    while (slots < 2 * most && slots < kFirstSlots) slots *= 2;
    slots_.assign(slots, 0);
    entries_.clear();
  }

  // The entry of bytes equal to these, whose hash is given and for which same(entry) holds too; a new one of count 0 if
  // there was none.
  template <typename Same>
  Entry& find(std::string_view bytes, uint64_t hash, std::size_t tag, Same&& same) {
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t slot = hash & mask;; slot = (slot + 1) & mask) {
      const uint32_t at = slots_[slot];
      if (at == 0) {
        entries_.push_back({hash, bytes, 0, tag});
        slots_[slot] = static_cast<uint32_t>(entries_.size());
        if (2 * entries_.size() > slots_.size()) grow();
        return entries_.back();
      }
      Entry& entry = entries_[at - 1];
      if (entry.hash == hash && entry.bytes == bytes && same(entry)) return entry;
    }
  }
  Entry& find(std::string_view bytes, uint64_t hash) {
    return find(bytes, hash, 0, [](const Entry&) { return true; });
  }

  // In the order in which they were first seen.
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  static constexpr std::size_t kFirstSlots = 4096;

  void grow() {
    slots_.assign(2 * slots_.size(), 0);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      std::size_t slot = entries_[i].hash & mask;
      while (slots_[slot] != 0) slot = (slot + 1) & mask;
      slots_[slot] = static_cast<uint32_t>(i + 1);
    }
  }

  std::vector<uint32_t> slots_;  // place in entries_ + 1; 0 = free
  std::vector<Entry> entries_;
};

}  // namespace smolfast::filters
