// The buckets of a word's n-grams of characters, sixteen beginnings at once.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

namespace smolfast::fasttext {

// A word between < and >, by characters: byte p of character c is bytes(p)[c], or kNone.
class Marked {
 public:
  static constexpr int32_t kNone = 0x100;
  static constexpr int32_t kAtOnce = 16;

  Marked(int32_t minn, int32_t maxn, uint32_t buckets) : minn(minn), maxn(maxn), divisor(buckets) {
    shift = std::bit_width(buckets) - 1;
    const uint64_t inverse = (uint64_t{1} << (32 + shift)) / buckets;
    factor = inverse > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(inverse);
  }

  // False for what isn't UTF-8: characters of more than four bytes.
  bool set(std::string_view word);
  const int32_t* bytes(int part) const { return bytes_[part].data(); }

  int32_t minn;
  int32_t maxn;
  int32_t size = 0;        // characters
  int32_t most_bytes = 1;  // of a character
  // hash mod divisor is hash − q · divisor for q = hash · factor / 2³²⁺ˢʰⁱᶠᵗ, or one more.
  uint32_t divisor;
  uint32_t factor;
  int shift;

 private:
  std::vector<int32_t> bytes_[4];
};

// Writes the buckets of the n-grams that begin at characters begin to begin + 15: by length, then by beginning. Returns
// how many. `out` has room for 16 · maxn and 16 more.
using SubwordBuckets = std::size_t (*)(const Marked& word, int32_t begin, uint32_t* out);
// That of active_isa().
SubwordBuckets subword_buckets();

}  // namespace smolfast::fasttext
