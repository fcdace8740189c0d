#include "text/unicode_words_lookup.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>

#include "text/tables.h"

namespace smolfast::text {
namespace {

// Bits for a word-break class: what most characters are, and whether more must be asked.
constexpr uint8_t kIsLetter = 1, kIsSingle = 2, kIsMore = 4;
constexpr auto kBits = [] {
  using enum WordBreak;
  std::array<uint8_t, 32> bits{};
  bits[static_cast<std::size_t>(kALetter)] = kIsLetter;
  bits[static_cast<std::size_t>(kSingle)] = kIsSingle;
  for (const WordBreak k : {kHebrewLetter, kNumeric, kExtend, kFormat, kZwj, kExtendNumLet, kMidLetter, kMidNum,
                            kMidNumLet, kRegionalIndicator, kWSegSpace}) {
    bits[static_cast<std::size_t>(k)] = kIsMore;
  }
  return bits;
}();

// The class of a character of two bytes or more, without a look at its code point.
inline WordBreak class_at(const uint8_t* p) {
  std::size_t page;
  unsigned last;
  if (p[0] < 0xE0) {
    page = p[0] & 31u;
    last = p[1];
  } else if (p[0] < 0xF0) {
    page = (p[0] & 15u) << 6 | (p[1] & 63u);
    last = p[2];
  } else {
    page = (p[0] & 7u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u);
    last = p[3];
  }
  return static_cast<WordBreak>(kWordBreakValues[static_cast<std::size_t>(kWordBreakIndex[page]) << 6 | (last & 63u)]);
}

constexpr uint64_t bit(int at) {
  return uint64_t{1} << at;
}

class Resolver {
 public:
  Resolver(const uint8_t* block, std::size_t size, LookedUp& masks)
      : block_(block), size_(size < 64 ? static_cast<int>(size) : 64), masks_(masks) {}

  int run() {
    const uint64_t starts = masks_.unknown & ~masks_.continuations;
    uint64_t letters = 0, singles = 0, more = 0;
    for (uint64_t left = starts; left != 0; left &= left - 1) {
      const int at = std::countr_zero(left);
      const uint8_t bits = kBits[static_cast<std::size_t>(class_at(block_ + at))];
      letters |= uint64_t{bits & 1u} << at;
      singles |= uint64_t{bits >> 1 & 1u} << at;
      more |= uint64_t{bits >> 2 & 1u} << at;
    }
    masks_.letters |= whole(letters);
    masks_.singles |= singles;
    masks_.single_bytes |= whole(singles);
    // A character that the block's end cuts is the last.
    const int last = 63 - std::countl_zero(starts);
    if (last + size_at(last) > 64) limit_ = last;
    for (; more != 0; more &= more - 1) {
      const int at = std::countr_zero(more);
      if (at >= limit_) break;
      resolve(at);
    }
    if (hebrew_ != 0) stop_at_quotes();
    // From the last one on, since what follows one must be certain.
    for (; middles_ != 0; middles_ &= ~bit(63 - std::countl_zero(middles_)))
      resolve_middle(63 - std::countl_zero(middles_));
    return limit_;
  }

 private:
  int size_at(int at) const { return block_[at] < 0xE0 ? 2 : block_[at] < 0xF0 ? 3 : 4; }

  // All bytes of the characters that begin there.
  uint64_t whole(uint64_t starts) const {
    for (int i = 0; i < 3; ++i) starts |= starts << 1 & masks_.continuations;
    return starts;
  }

  void stop(int at) { limit_ = std::min(limit_, at); }

  void resolve(int at) {
    using enum WordBreak;
    const uint64_t bytes = whole(bit(at));
    switch (class_at(block_ + at)) {
      case kHebrewLetter:
        masks_.letters |= bytes;
        hebrew_ |= bytes;
        break;
      case kNumeric:
        masks_.digits |= bytes;
        break;
      case kExtendNumLet:
        masks_.underscores |= bytes;
        break;
      case kExtend:
      case kFormat:
        mark(at, bytes);
        break;
      case kMidLetter:
      case kMidNum:
      case kMidNumLet:
        middles_ |= bit(at);
        middle_bytes_ |= bytes;
        break;
      case kRegionalIndicator:
        follow(at, bytes, regional_);
        break;
      case kWSegSpace:
        follow(at, bytes, blanks_);
        if (at > 0 && block_[at - 1] == ' ') masks_.attached |= bytes;
        if (const int next = at + size_at(at); next < size_ && block_[next] == ' ') masks_.attached |= bit(next);
        break;
      default:
        stop(at);  // a joiner: a pictograph may follow
    }
  }

  // WB3d, WB15 and WB16: of two neighbours of a kind the second begins no segment. (At the next but one regional
  // indicator one would begin; an earlier one will do.)
  void follow(int at, uint64_t bytes, uint64_t& kind) {
    if (at > 0 && (kind & bit(at - 1)) != 0) masks_.attached |= bytes;
    kind |= bytes;
  }

  // WB4: a mark is of what stands before it.
  void mark(int at, uint64_t bytes) {
    if (at == 0) return;  // a segment of its own
    const uint64_t before = bit(at - 1);
    if (((masks_.middles | middle_bytes_) & before) != 0) return stop(at);
    masks_.attached |= bytes;
    for (uint64_t* mask :
         {&masks_.letters, &masks_.digits, &masks_.underscores, &masks_.single_bytes, &hebrew_, &regional_}) {
      if ((*mask & before) != 0) *mask |= bytes;
    }
  }

  // WB7a to WB7c: quotes may be kept after Hebrew letters.
  void stop_at_quotes() {
    for (uint64_t after = hebrew_ << 1 & ~hebrew_; after != 0; after &= after - 1) {
      const int at = std::countr_zero(after);
      if (at < size_ && (block_[at] == '"' || block_[at] == '\'')) return stop(at);
    }
  }

  // WB6, WB7, WB11 and WB12 for a mark of two bytes or more between two letters or two digits.
  void resolve_middle(int at) {
    if (at >= limit_ || at == 0) return;
    const int next = at + size_at(at);
    if (next >= limit_ || (masks_.unknown & bit(next) && is_ignored(class_at(block_ + next)))) return stop(at);
    const WordBreak k = class_at(block_ + at);
    const uint64_t both_sides_letters = masks_.letters >> (at - 1) & masks_.letters >> next & 1;
    const uint64_t both_sides_digits = masks_.digits >> (at - 1) & masks_.digits >> next & 1;
    if ((k != WordBreak::kMidNum && both_sides_letters != 0) ||
        (k != WordBreak::kMidLetter && both_sides_digits != 0)) {
      masks_.joined |= whole(bit(at));
    }
  }

  static bool is_ignored(WordBreak k) {
    return k == WordBreak::kExtend || k == WordBreak::kFormat || k == WordBreak::kZwj;
  }

  const uint8_t* const block_;
  const int size_;
  LookedUp& masks_;
  int limit_ = 64;
  uint64_t hebrew_ = 0;
  uint64_t regional_ = 0;
  uint64_t blanks_ = 0;
  uint64_t middles_ = 0;  // first bytes of those of two bytes or more
  uint64_t middle_bytes_ = 0;
};

}  // namespace

int look_up_classes(const char* block, std::size_t size, LookedUp& masks) {
  return Resolver(reinterpret_cast<const uint8_t*>(block), size, masks).run();
}

}  // namespace smolfast::text
