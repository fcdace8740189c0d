// A bounded table of words and their summed rows. Words repeat: in running text nine of ten are found here.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/aligned.h"
#include "base/prefetch.h"

namespace smolfast::fasttext {

enum class WordKind : int32_t { kPlain, kLabel, kEnd };

// What a word adds to a text; its rows' sum stands beside.
struct WordFacts {
  uint32_t hash;
  int32_t rows;
  WordKind kind;
};

class WordCache {
 public:
  static constexpr std::size_t kLongestWord = 32;
  // A word's bytes and zeros behind: no word holds a zero byte.
  struct Key {
    uint64_t part[4];
    bool operator==(const Key& other) const {
      return ((part[0] ^ other.part[0]) | (part[1] ^ other.part[1]) | (part[2] ^ other.part[2]) |
              (part[3] ^ other.part[3])) == 0;
    }
  };
  // The sum of its rows stands behind, in lines of its own.
  struct alignas(64) Entry {
    Key key;
    WordFacts facts;
  };

  // The bytes of each thread's table for a file of so many. Where the file is large itself, two threads shall take less
  // than a tenth of it, the vocabulary's index included.
  static std::size_t bytes_beside(std::size_t file_bytes) {
    constexpr std::size_t kMiB = std::size_t{1} << 20;
    return file_bytes < 64 * kMiB ? 16 * kMiB : std::clamp(file_bytes / 56, 2 * kMiB, 16 * kMiB);
  }

  // Entries with sums of so many numbers, in about so many bytes.
  WordCache(int64_t cols, std::size_t bytes)
      : sum_bytes_(static_cast<std::size_t>(cols) * sizeof(float)),
        stride_((sizeof(Entry) + sum_bytes_ + 63) / 64 * 64) {
    const std::size_t sets = std::max<std::size_t>(4, bytes / (kWays * stride_));
    sets_.assign(sets, {});
    memory_ = table_of_floats(sets * kWays * stride_ / sizeof(float));
  }

  // `word` is at most kLongestWord bytes, and `end` is where what may be read ends.
  static Key key_of(std::string_view word, const char* end) {
    Key key{};
    if (end - word.data() < static_cast<std::ptrdiff_t>(sizeof key)) {
      std::memcpy(&key, word.data(), word.size());
      return key;
    }
    std::memcpy(&key, word.data(), sizeof key);
    Key mask;
    std::memcpy(&mask, kMask + (sizeof key - word.size()), sizeof mask);
    for (int i = 0; i < 4; ++i) key.part[i] &= mask.part[i];
    return key;
  }

  static uint64_t hash_of(const Key& key) {
    const uint64_t hash = key.part[0] * 0x9E3779B97F4A7C15u + key.part[1] * 0xC2B2AE3D27D4EB4Fu +
                          key.part[2] * 0x165667B19E3779F9u + key.part[3] * 0xD6E8FEB86659FD93u;
    return (hash ^ hash >> 32) * 0x9FB21C651E98DF25u;
  }

  // Asks for the memory that says where a word stands.
  void prefetch_set(uint64_t hash) const { prefetch_near(&sets_[set_of(hash)]); }

  // Where a word probably stands, or will: asks for that memory.
  uint32_t prefetch_place(uint64_t hash) const {
    const std::size_t set = set_of(hash);
    const unsigned way = sets_[set].way_of(tag_of(hash));
    const std::size_t place = set * kWays + (way < kWays ? way : sets_[set].victim());
    const char* const at = at_of(place);
    prefetch_near(at);
    prefetch_near(at + 64);
    return static_cast<uint32_t>(place);
  }

  // The entry of a word that is here; `place` is what prefetch_place said.
  const Entry* find(const Key& key, uint64_t hash, uint32_t place) {
    Set& set = sets_[set_of(hash)];
    const uint16_t tag = tag_of(hash);
    const unsigned way = place % kWays;
    if (set.tags[way] == tag && entry(place).key == key) {
      set.used(way);
      return &entry(place);
    }
    // Another word may have the same tag.
    for (unsigned other = 0; other < kWays; ++other) {
      const std::size_t at = place - way + other;
      if (set.tags[other] != tag || !(entry(at).key == key)) continue;
      set.used(other);
      return &entry(at);
    }
    return nullptr;
  }

  // Remembers a word, if it isn't here yet.
  void keep(const Key& key, uint64_t hash, const WordFacts& facts, const float* sum) {
    const std::size_t first = set_of(hash) * kWays;
    Set& set = sets_[set_of(hash)];
    const uint16_t tag = tag_of(hash);
    if (set.way_of(tag) < kWays && find(key, hash, static_cast<uint32_t>(first)) != nullptr) return;
    const unsigned way = set.make_room();
    set.tags[way] = tag;
    Entry& made = entry(first + way);
    made.key = key;
    made.facts = facts;
    std::memcpy(&made + 1, sum, sum_bytes_);
  }

  static const float* sum(const Entry& entry) { return reinterpret_cast<const float*>(&entry + 1); }

 private:
  static constexpr std::size_t kWays = 8;
  static constexpr auto kMaskBytes = [] {
    struct {
      unsigned char bytes[64];
    } mask{};
    for (int i = 0; i < 32; ++i) mask.bytes[i] = 0xFF;
    return mask;
  }();
  static constexpr const unsigned char* kMask = kMaskBytes.bytes;
  std::size_t set_of(uint64_t hash) const { return (hash >> 32) * sets_.size() >> 32; }
  static uint16_t tag_of(uint64_t hash) { return static_cast<uint16_t>(hash | 1); }

  // Words that come often stay: each use counts, up to 3. The first with the least uses makes room, and the others then
  // lose as many. Of those with equally many the hand goes round. Over manuals in 49 languages a fifth fewer words are
  // missed than if the last use decided.
  struct Set {
    uint16_t tags[kWays] = {};  // 0: empty
    uint16_t uses = 0;          // two bits a way
    uint16_t hand = 0;

    // The first way with this tag, or kWays. A way behind it may be taken for one with that tag, none before it.
    unsigned way_of(uint16_t tag) const {
      for (unsigned half = 0; half < kWays / 4; ++half) {
        uint64_t four;
        std::memcpy(&four, tags + 4 * half, sizeof four);
        four ^= kEach * tag;
        const uint64_t equal = (four - kEach) & ~four & kEach << 15;
        if (equal != 0) return 4 * half + static_cast<unsigned>(std::countr_zero(equal)) / 16;
      }
      return kWays;
    }
    void used(unsigned way) {
      const unsigned shift = 2 * way;
      uses = static_cast<uint16_t>(uses + ((uses >> shift & 3u) != 3u ? 1u << shift : 0u));
    }
    // The way that make_room() will give.
    unsigned victim() const {
      unsigned least = uses;
      return victim_of(least);
    }
    unsigned make_room() {
      unsigned left = uses;
      const unsigned way = victim_of(left);
      uses = static_cast<uint16_t>(left);
      hand = static_cast<uint16_t>((way + 1) % kWays);
      return way;
    }

   private:
    static constexpr uint64_t kEach = 0x0001000100010001u;
    unsigned victim_of(unsigned& left) const {
      constexpr unsigned kOnes = 0x5555;
      unsigned some = (left | left >> 1) & kOnes;
      for (; some == kOnes; some = (left | left >> 1) & kOnes) left -= kOnes;
      const unsigned none = ~some & kOnes;
      const unsigned from_hand = none >> (2 * hand);
      return from_hand != 0 ? hand + static_cast<unsigned>(std::countr_zero(from_hand)) / 2
                            : static_cast<unsigned>(std::countr_zero(none)) / 2;
    }
  };

  Entry& entry(std::size_t place) const { return *reinterpret_cast<Entry*>(at_of(place)); }
  char* at_of(std::size_t entry) const { return reinterpret_cast<char*>(memory_.get()) + entry * stride_; }

  std::size_t sum_bytes_;
  std::size_t stride_;
  std::vector<Set> sets_;
  TableOfFloats memory_;  // the entries
};

}  // namespace smolfast::fasttext
