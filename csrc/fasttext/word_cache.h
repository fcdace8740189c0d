// A bounded table of words and their summed rows. Words repeat: in running text nine of ten are found here.
#pragma once

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

  static constexpr std::size_t kBytes = std::size_t{8} << 20;

  // Entries with sums of so many numbers, in about so many bytes.
  WordCache(int64_t cols, std::size_t bytes)
      : stride_((sizeof(Entry) + static_cast<std::size_t>(cols) * sizeof(float) + 63) / 64 * 64) {
    std::size_t sets = 16;
    while (sets * 2 * kWays * stride_ <= bytes) sets *= 2;
    for (std::size_t i = sets; i > 1; i /= 2) --shift_;
    tags_.assign(sets * kWays, 0);
    recent_.assign(sets, 0);
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

  void prefetch_entry(uint64_t hash) const {
    const std::size_t first = (hash >> shift_) * kWays;
    const uint32_t tag = tag_of(hash);
    std::size_t way = 0;
    for (std::size_t i = 1; i < kWays; ++i) way = tags_[first + i] == tag ? i : way;
    const char* const at = at_of(first + way);
    prefetch(at);
    prefetch(at + 64);
  }

  // The entry of a word; `found` says whether it is filled. If not, the caller fills its facts and its sum.
  Entry& find(const Key& key, uint64_t hash, bool& found) {
    const std::size_t set = hash >> shift_;
    const uint32_t tag = tag_of(hash);
    uint32_t* const tags = tags_.data() + set * kWays;
    for (std::size_t way = 0; way < kWays; ++way) {
      Entry& entry = *reinterpret_cast<Entry*>(at_of(set * kWays + way));
      if (tags[way] == tag && entry.key == key) {
        recent_[set] = static_cast<uint8_t>(recent_[set] | 1u << way);
        found = true;
        return entry;
      }
    }
    // The first that wasn't used lately makes room.
    unsigned recent = recent_[set];
    if (recent == (1u << kWays) - 1) recent = 0;
    std::size_t way = 0;
    while ((recent >> way & 1) != 0) ++way;
    recent_[set] = static_cast<uint8_t>(recent | 1u << way);
    tags[way] = tag;
    Entry& entry = *reinterpret_cast<Entry*>(at_of(set * kWays + way));
    entry.key = key;
    found = false;
    return entry;
  }

  float* sum(Entry& entry) const { return reinterpret_cast<float*>(&entry + 1); }

 private:
  static constexpr std::size_t kWays = 4;
  static constexpr auto kMaskBytes = [] {
    struct {
      unsigned char bytes[64];
    } mask{};
    for (int i = 0; i < 32; ++i) mask.bytes[i] = 0xFF;
    return mask;
  }();
  static constexpr const unsigned char* kMask = kMaskBytes.bytes;
  static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash) | 1u; }
  char* at_of(std::size_t entry) const { return reinterpret_cast<char*>(memory_.get()) + entry * stride_; }

  std::size_t stride_;
  int shift_ = 64;
  std::vector<uint32_t> tags_;   // 0: empty
  std::vector<uint8_t> recent_;  // a bit a way
  TableOfFloats memory_;         // the entries
};

}  // namespace smolfast::fasttext
