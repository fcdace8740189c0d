// The ids of words that came before: of short words with few ids in lines of a cache, of others in a hash table.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "base/prefetch.h"
#include "base/seeded_hash.h"

namespace smolfast::bpe {

class WordIds {
 public:
  // The most bytes of a word.
  static constexpr std::size_t kLongestWord = 128;
  // `find` may write so many ids whatever a word has.
  static constexpr std::size_t kWidth = 3;

  WordIds();

  // A word of at most kLongestWord bytes, one or more, and what the tables look for.
  struct Key {
    std::string_view word;
    uint64_t low, high;  // a short word's bytes, with zeros behind them
    uint64_t hash;

    bool is_short() const { return word.size() <= 2 * sizeof(uint64_t); }
  };
  // Also asks for the memory where it stands: what comes between this and `find` takes no time then.
  Key key(std::string_view word) const {
    Key key{word, 0, 0, 0};
    if (key.is_short()) {
      load_short(word, key.low, key.high);
      key.hash = hash_short(key.low, key.high, word.size(), seed_);
      prefetch_to_write(&lines_[key.hash & (kLines - 1)]);
    } else {
      key.hash = hash_bytes(word, seed_);
    }
    prefetch(&slots_[key.hash & (slots_.size() - 1)]);  // where a short word of many ids stands too
    return key;
  }

  // Writes the ids of a word and returns their end; null if it isn't there.
  uint32_t* find(const Key& key, uint32_t* out) {
    if (key.is_short()) {
      for (const Short& entry : lines_[key.hash & (kLines - 1)]) {
        if (entry.low == key.low && entry.high == key.high && entry.size == key.word.size()) {
          std::memcpy(out, entry.ids.data(), sizeof entry.ids);
          return out + entry.count;
        }
      }
    }
    return find_any(key, out);
  }

  // Adds a word that isn't there, with the ids from `ids` to `past`, one or more. An older one may be forgotten.
  void add(const Key& key, const uint32_t* ids, const uint32_t* past);

 private:
  // A word of up to sixteen bytes with up to kWidth ids. No word has the size 0.
  struct Short {
    uint64_t low = 0;
    uint64_t high = 0;
    std::array<uint32_t, kWidth> ids{};
    uint16_t size = 0;
    uint16_t count = 0;
  };
  struct alignas(64) Line : std::array<Short, 2> {};
  static constexpr std::size_t kLines = std::size_t{1} << 17;  // 8 MB

  // Any other word. Its bytes lie in the store behind its ids.
  struct Slot {
    uint32_t tag = 0;
    uint32_t at = 0;  // of the ids in the store
    uint16_t size = 0;
    uint16_t count = 0;  // of ids; 0 for no word
  };
  // When there are more, all are forgotten.
  static constexpr std::size_t kMostOthers = std::size_t{1} << 17;

  static uint32_t tag(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }
  uint32_t* find_any(const Key& key, uint32_t* out) const;
  void add_any(const Key& key, const uint32_t* ids, std::size_t count);

  HashSeed seed_;
  std::unique_ptr<Line[]> lines_;
  std::vector<Slot> slots_;
  std::size_t others_ = 0;
  std::vector<uint32_t> store_;
};

}  // namespace smolfast::bpe
