// How chunks were cut before, each at a place of its own by its hash: so most are cut once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "text/bytes.h"

namespace smolfast::text {

// Chunks of up to sixteen bytes, with what was measured of their tokens. An entry is a line of the CPU's cache.
class ShortChunks {
 public:
  static constexpr std::size_t kBytes = 16;
  static constexpr std::size_t kTokens = 4;
  static constexpr std::array<uint8_t, 2 * kBytes> kOnesThenZeros = [] {
    std::array<uint8_t, 2 * kBytes> bytes{};
    for (std::size_t i = 0; i < kBytes; ++i) bytes[i] = 0xFF;
    return bytes;
  }();
  // What has to be looked at of the tokens' kinds (SpacyRules::kinds).
  static constexpr uint8_t kSecondFirst = 1;  // the first may be the second one of a sequence
  static constexpr uint8_t kWithin = 2;       // a sequence may begin and go on in the chunk

  struct Key {
    uint64_t low;
    uint64_t high;  // zeros behind the chunk

    // Of its first bytes.
    Key first(std::size_t size) const {
      const uint8_t* const mask = kOnesThenZeros.data() + (kBytes - size);
      uint64_t of_low;
      uint64_t of_high;
      std::memcpy(&of_low, mask, 8);
      std::memcpy(&of_high, mask + 8, 8);
      return {low & first_lowest(of_low), high & first_lowest(of_high)};
    }
    std::size_t characters(std::size_t size) const { return size - continuations(low) - continuations(high); }
  };
  struct alignas(64) Entry {
    uint64_t low;
    uint64_t high;
    uint16_t edges[2 * kTokens];  // of the tokens, begin and end; 0 behind them
    uint32_t hashes[kTokens];
    uint16_t kinds;  // four bits each
    uint8_t size;    // 0: no chunk
    uint8_t tokens;
    uint8_t flags;
    uint8_t opening;  // 1 + the last token that may begin a sequence, or 0
    uint8_t solid, solid_characters, lettered;

    bool holds(const Key& key, std::size_t bytes) const { return low == key.low && high == key.high && size == bytes; }
  };
  static_assert(sizeof(Entry) == 64);

  ShortChunks() : entries_(std::size_t{1} << kPlaces), marks_(std::size_t{1} << kPlaces) {}

  static Key key(const char* begin, std::size_t size, const char* text_end) {
    char copy[kBytes] = {};
    if (static_cast<std::size_t>(text_end - begin) < kBytes) [[unlikely]] {
      std::memcpy(copy, begin, size);
      begin = copy;
    }
    return readable_key(begin, size);
  }
  // The same where so many bytes can be read.
  static Key readable_key(const char* begin, std::size_t size) {
    return Key{load_eight(begin), load_eight(begin + 8)}.first(size);
  }
  static uint64_t hash(const Key& key) { return key.low * 0x9E3779B97F4A7C15u + key.high * 0xD6E8FEB86659FD93u; }
  // The chunk's entry, or nullptr. What isn't there is told by its mark, so that nothing waits for a far line.
  const Entry* find(uint64_t hash, const Key& key, std::size_t size) const {
    if (marks_[hash >> (64 - kPlaces)] != mark(hash)) return nullptr;
    const Entry& entry = entries_[hash >> (64 - kPlaces)];
    return entry.holds(key, size) ? &entry : nullptr;
  }
  Entry& renew(uint64_t hash) {
    marks_[hash >> (64 - kPlaces)] = mark(hash);
    return entries_[hash >> (64 - kPlaces)] = {};
  }

 private:
  static constexpr int kPlaces = 14;
  static uint16_t mark(uint64_t hash) { return static_cast<uint16_t>(hash >> (48 - kPlaces)); }
  // Bytes of which the highest bit is 1 and the next one 0.
  static std::size_t continuations(uint64_t eight) {
    return ((eight & ~(eight << 1) & 0x8080808080808080) >> 7) * 0x0101010101010101 >> 56;
  }
  std::vector<Entry> entries_;
  std::vector<uint16_t> marks_;  // some bits of what an entry holds
};

// Longer ones, and those of more tokens.
class LongChunks {
 public:
  static constexpr std::size_t kWords = 5;  // of eight bytes
  static constexpr std::size_t kBytes = 8 * kWords;
  static constexpr std::size_t kTokens = 12;
  struct Entry {
    uint16_t size;  // of the chunk; 0: none
    uint16_t count;
    uint8_t ends[kTokens];
    uint64_t kinds;  // of the tokens, four bits each
    uint64_t chunk[kWords];
  };

  LongChunks() : entries_(std::size_t{1} << kPlaces), marks_(std::size_t{1} << kPlaces) {}
  // Of a chunk; `words` becomes its bytes, zeros behind them. Up to `text_end` may be read.
  static uint64_t hash(const char* begin, std::size_t size, const char* text_end, uint64_t* words) {
    char copy[kBytes];
    if (static_cast<std::size_t>(text_end - begin) < kBytes) {
      std::memcpy(copy, begin, size);
      begin = copy;
    }
    uint64_t hash = size;
    std::size_t i = 0;
    for (; 8 * i + 8 <= size; ++i) {
      words[i] = load_eight(begin + 8 * i);
      hash = mix(hash ^ words[i]);
    }
    if (size % 8 != 0) {
      words[i] = load_eight(begin + 8 * i) & ((uint64_t{1} << (size % 8 * 8)) - 1);
      hash = mix(hash ^ words[i]);
    }
    return hash;
  }
  // The chunk's entry, or nullptr.
  const Entry* find(uint64_t hash, std::size_t size, const uint64_t* words) const {
    if (marks_[hash >> (64 - kPlaces)] != mark(hash)) return nullptr;
    const Entry& entry = entries_[hash >> (64 - kPlaces)];
    if (entry.size != size) return nullptr;
    uint64_t difference = 0;
    for (std::size_t i = 0; 8 * i < size; ++i) difference |= entry.chunk[i] ^ words[i];
    return difference == 0 ? &entry : nullptr;
  }
  Entry& renew(uint64_t hash) {
    marks_[hash >> (64 - kPlaces)] = mark(hash);
    return entries_[hash >> (64 - kPlaces)];
  }

 private:
  static constexpr int kPlaces = 13;
  static uint16_t mark(uint64_t hash) { return static_cast<uint16_t>(hash >> (48 - kPlaces)); }
  static uint64_t mix(uint64_t x) {
    x *= 0x9E3779B97F4A7C15u;
    return x ^ x >> 29;
  }
  std::vector<Entry> entries_;
  std::vector<uint16_t> marks_;  // some bits of what an entry holds
};

}  // namespace smolfast::text
