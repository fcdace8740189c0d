// Which pairs of tokens a tokenizer merges, and how a word's bytes become tokens by them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/cpu.h"
#include "base/prefetch.h"

namespace smolfast::bpe {

struct Merge {
  uint32_t first, second, made;
};

// What joining needs, kept from word to word.
struct JoinRoom {
  Isa isa = Isa::kBaseline;
  // For long words.
  std::vector<uint32_t> ids;
  std::vector<int32_t> ranks;
  std::vector<uint32_t> links;
  std::vector<uint64_t> heap;
};

class MergeTable {
 public:
  // The id of each byte, and the merges in order; of a pair that comes twice the last place counts. Throws Error if
  // there are more than two million ids or merges.
  MergeTable(const std::array<uint32_t, 256>& bytes, const std::vector<Merge>& merges);

  // Writes the ids of a word, at most one for each byte, and returns their end. Again and again the pair whose merge is
  // first in order is merged, of several such the one that is first in the word.
  uint32_t* join(std::string_view word, JoinRoom& room, uint32_t* out) const;

 private:
  static constexpr int32_t kNone = INT32_MAX;
  // A pair and its rank in one number, so that the table of a usual tokenizer fits into the second cache.
  static constexpr int kBits = 21;
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  std::size_t place(uint64_t pair) const { return static_cast<std::size_t>(pair * 0x9E3779B97F4A7C15u >> shift_); }
  // The place of a pair's merge in their order, or kNone.
  int32_t rank(uint32_t first, uint32_t second) const {
    const uint64_t pair = uint64_t{first} << kBits | second;
    const std::size_t at = place(pair);
    // Most pairs are never merged, and a bit says so without a look at the table.
    return (may_have_[at >> 3] >> (at & 7) & 1) == 0 ? kNone : look_up(pair, at >> kSparse);
  }
  int32_t look_up(uint64_t pair, std::size_t at) const {
    for (;; at = (at + 1) & mask_) {
      const uint64_t slot = slots_[at];
      if (slot == kEmpty) return kNone;
      if (slot >> kBits == pair) {
        const auto rank = static_cast<int32_t>(slot & ((1u << kBits) - 1));
        prefetch(&made_[static_cast<std::size_t>(rank)]);
        return rank;
      }
    }
  }
  uint32_t* join_short(std::string_view word, uint32_t* out) const;
  uint32_t* join_baseline(std::string_view word, uint32_t* out) const;
  uint32_t* join_avx2(std::string_view word, uint32_t* out) const;
  uint32_t* join_long(std::string_view word, JoinRoom& room, uint32_t* out) const;

  std::array<uint32_t, 256> bytes_;
  std::vector<int32_t> of_bytes_;    // [256, 256], the ranks of pairs of bytes
  static constexpr int kSparse = 3;  // eight bits of may_have_ for each slot
  std::vector<uint64_t> slots_;
  std::vector<uint8_t> may_have_;
  std::size_t mask_ = 0;
  int shift_ = 0;
  std::vector<uint32_t> made_;  // by rank
};

}  // namespace smolfast::bpe
