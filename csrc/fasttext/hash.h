// fastText's hashes: FNV-1a in 32 bits of words and of n-grams of characters, a product of two for n-grams of words.
#pragma once

#include <cstdint>
#include <string_view>

namespace smolfast::fasttext {

inline constexpr uint32_t kHashStart = 2166136261u;

// Bytes above 127 count as negative numbers, as they did where the first models were trained.
inline uint32_t hash_on(uint32_t hash, char byte) {
  return (hash ^ static_cast<uint32_t>(static_cast<int8_t>(byte))) * 16777619u;
}

inline uint32_t hash_of(std::string_view word) {
  uint32_t hash = kHashStart;
  for (const char byte : word) hash = hash_on(hash, byte);
  return hash;
}

// An n-gram of words from that of its first n − 1 and the next word's hash. Words' hashes count as signed.
inline uint64_t hash_on_word(uint64_t hash, int32_t word) {
  return hash * 116049371u + static_cast<uint64_t>(int64_t{word});
}

// The rest of a division by a number that is known late, in two multiplications: Lemire, Kaser, Kurz, "Faster remainder
// by direct computation" (2019).
class Modulo {
 public:
  explicit Modulo(uint32_t divisor = 1) : divisor_(divisor), inverse_(UINT64_MAX / divisor + 1) {}
  uint32_t divisor() const { return divisor_; }
  uint32_t operator()(uint32_t value) const {
#if defined(__SIZEOF_INT128__)
    if (divisor_ == 1) return 0;
    __extension__ using Wide = unsigned __int128;
    return static_cast<uint32_t>((Wide{inverse_ * value} * divisor_) >> 64);
#else
    return value % divisor_;
#endif
  }

 private:
  uint32_t divisor_;
  uint64_t inverse_;
};

}  // namespace smolfast::fasttext
