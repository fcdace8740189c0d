// The n-grams of characters of several words, sixteen beginnings at once whatever words they lie in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace smolfast::fasttext {

// Words between < and >, one after another, by characters: byte p of character c is bytes(p)[c], or kNone.
class Marked {
 public:
  static constexpr int32_t kNone = 0x100;
  static constexpr std::size_t kAtOnce = 16;

  explicit Marked(int32_t maxn) : maxn_(static_cast<std::size_t>(maxn)) {}

  // Adds a word. False, and nothing is added, for what isn't UTF-8: characters of more than four bytes.
  bool push(std::string_view word);
  void clear();
  std::size_t size() const { return size_; }      // characters
  int most_bytes() const { return most_bytes_; }  // of a character
  // From there on, so many characters more can be read as n-grams of sixteen beginnings take.
  const int32_t* bytes(int part) const { return bytes_[part].data(); }
  // A bit for each of the sixteen characters from there on: which are a word's last.
  uint32_t ends(std::size_t from) const {
    const uint64_t bits = ends_[from >> 6] >> (from & 63) | ends_[(from >> 6) + 1] << 1 << (63 - (from & 63));
    return static_cast<uint32_t>(bits & 0xFFFF);
  }

 private:
  void make_room(std::size_t bytes);

  std::size_t maxn_;
  std::size_t size_ = 0;
  int most_bytes_ = 1;
  std::vector<int32_t> bytes_[4];  // those behind the first are kNone but where characters have them
  std::vector<uint64_t> ends_;
};

// hash mod divisor is hash − q · divisor for q = hash · factor / 2³²⁺ˢʰⁱᶠᵗ, or one more.
struct VectorModulo {
  explicit VectorModulo(uint32_t buckets);
  uint32_t divisor;
  uint32_t factor;
  int shift;
};

// Those of one length, in the order of their beginnings.
struct NGrams {
  // Makes room for those of so many characters, and none are there.
  void clear(std::size_t characters);

  std::vector<uint32_t> buckets;
  std::vector<int32_t> rows;     // as many; the caller's
  std::vector<uint64_t> begins;  // a bit for each character: whether one begins there
  std::size_t count = 0;
  std::size_t taken = 0;  // rows
};

// Loops that exist once per instruction set.
struct SubwordLoops {
  // Finds the n-grams of lengths first to first + lengths − 1, but for < and > alone. `kept` has a bit for each bucket,
  // whether it is wanted; null: all are.
  void (*find)(const Marked& words, const VectorModulo& bucket, const uint64_t* kept, int32_t first, NGrams* found,
               std::size_t lengths);
  // Copies the rows of n-grams that begin in the next word, of so many characters, length by length. Returns the end.
  // Fifteen numbers behind it may be written as well.
  int32_t* (*take)(NGrams* found, std::size_t lengths, std::size_t begin, std::size_t characters, int32_t* to);
};
// Those of active_isa().
const SubwordLoops& subword_loops();

}  // namespace smolfast::fasttext
