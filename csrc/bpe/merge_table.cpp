#include "bpe/merge_table.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <string>

#include "base/error.h"

#if defined(__GNUC__)
#define SMOLFAST_ALWAYS __attribute__((always_inline)) inline
#else
#define SMOLFAST_ALWAYS inline
#endif

namespace smolfast::bpe {
namespace {

// Words of more bytes are joined with a heap. Below, looking at all pairs each time is faster.
constexpr std::size_t kShort = 192;
static_assert(kShort < 255);

uint8_t byte_at(std::string_view word, std::size_t i) {
  return static_cast<uint8_t>(word[i]);
}

// Numbers are compared by so many at once.
constexpr std::size_t kLanes = 8;

#if defined(__GNUC__)
typedef int32_t Numbers __attribute__((vector_size(kLanes * sizeof(int32_t)), may_alias));

// The least of `count` numbers, aligned and in whole vectors.
SMOLFAST_ALWAYS int32_t least_of(const int32_t* numbers, std::size_t count) {
  Numbers least = *reinterpret_cast<const Numbers*>(numbers);
  for (std::size_t i = kLanes; i < count; i += kLanes) {
    const Numbers more = *reinterpret_cast<const Numbers*>(numbers + i);
    least = more < least ? more : least;
  }
  const Numbers halves = __builtin_shufflevector(least, least, 4, 5, 6, 7, 0, 1, 2, 3);
  least = halves < least ? halves : least;
  const Numbers quarters = __builtin_shufflevector(least, least, 2, 3, 0, 1, 6, 7, 4, 5);
  least = quarters < least ? quarters : least;
  return std::min(least[0], least[1]);
}
#else
int32_t least_of(const int32_t* numbers, std::size_t count) {
  return *std::min_element(numbers, numbers + count);
}
#endif

// A rank above a place.
constexpr int32_t kNothing = INT32_MAX;
SMOLFAST_ALWAYS int32_t ordered(int32_t rank, std::size_t at) {
  return rank == kNothing ? kNothing : rank << 8 | static_cast<int32_t>(at);
}

}  // namespace

MergeTable::MergeTable(const std::array<uint32_t, 256>& bytes, const std::vector<Merge>& merges)
    : bytes_(bytes), of_bytes_(std::size_t{256} * 256), slots_(std::bit_ceil(merges.size() * 2 + 2), kEmpty) {
  const std::size_t most = (std::size_t{1} << kBits) - 1;
  uint32_t largest = *std::max_element(bytes.begin(), bytes.end());
  for (const Merge& merge : merges) largest = std::max({largest, merge.first, merge.second, merge.made});
  if (largest >= most || merges.size() >= most) {
    throw Error("a tokenizer of more than " + std::to_string(most) + " ids or merges; take a smaller one");
  }
  mask_ = slots_.size() - 1;
  shift_ = 64 - std::countr_zero(slots_.size()) - kSparse;
  may_have_.resize(slots_.size());
  made_.reserve(merges.size());
  for (const Merge& merge : merges) {
    const uint64_t pair = uint64_t{merge.first} << kBits | merge.second;
    std::size_t at = place(pair);
    may_have_[at >> 3] = static_cast<uint8_t>(may_have_[at >> 3] | 1 << (at & 7));
    at >>= kSparse;
    while (slots_[at] != kEmpty && slots_[at] >> kBits != pair) at = (at + 1) & mask_;
    slots_[at] = pair << kBits | made_.size();
    made_.push_back(merge.made);
  }
  for (std::size_t pair = 0; pair < of_bytes_.size(); ++pair) {
    of_bytes_[pair] = rank(bytes_[pair >> 8], bytes_[pair & 255]);
  }
}

uint32_t* MergeTable::join(std::string_view word, JoinRoom& room, uint32_t* out) const {
  if (word.size() == 1) {
    *out = bytes_[byte_at(word, 0)];
    return out + 1;
  }
  if (word.size() > kShort) return join_long(word, room, out);
  const bool avx2 = room.isa == Isa::kAvx2 || room.isa == Isa::kAvx512;
  return avx2 ? join_avx2(word, out) : join_baseline(word, out);
}

// Tokens stay at the place of their first byte, and what a merge takes away leaves a hole.
SMOLFAST_ALWAYS uint32_t* MergeTable::join_short(std::string_view word, uint32_t* out) const {
  const std::size_t size = word.size();
  // Of each token with the next its rank, and below that its place: the least says where to merge.
  alignas(64) std::array<int32_t, kShort + kLanes> order;
  std::array<uint32_t, kShort> ids;
  std::array<uint8_t, kShort + 1> next;
  std::array<uint8_t, kShort + 1> before;
  for (std::size_t i = 0; i + 1 < size; ++i) {
    ids[i] = bytes_[byte_at(word, i)];
    order[i] = ordered(of_bytes_[std::size_t{byte_at(word, i)} << 8 | byte_at(word, i + 1)], i);
  }
  ids[size - 1] = bytes_[byte_at(word, size - 1)];
  std::fill_n(order.begin() + static_cast<std::ptrdiff_t>(size) - 1, kLanes, kNone);
  for (std::size_t i = 0; i < size; ++i) {
    next[i] = static_cast<uint8_t>(i + 1);
    before[i + 1] = static_cast<uint8_t>(i);
  }
  while (true) {
    const int32_t least = least_of(order.data(), size);
    if (least == kNone) break;
    const auto at = static_cast<std::size_t>(least & 255);
    const std::size_t gone = next[at];
    const std::size_t after = next[gone];
    ids[at] = made_[static_cast<std::size_t>(least >> 8)];
    next[at] = static_cast<uint8_t>(after);
    before[after] = static_cast<uint8_t>(at);
    order[gone] = kNone;
    order[at] = after < size ? ordered(rank(ids[at], ids[after]), at) : kNone;
    if (at > 0) order[before[at]] = ordered(rank(ids[before[at]], ids[at]), before[at]);
  }
  for (std::size_t at = 0; at < size; at = next[at]) *out++ = ids[at];
  return out;
}

uint32_t* MergeTable::join_baseline(std::string_view word, uint32_t* out) const {
  return join_short(word, out);
}

SMOLFAST_TARGET_AVX2 uint32_t* MergeTable::join_avx2(std::string_view word, uint32_t* out) const {
  return join_short(word, out);
}

uint32_t* MergeTable::join_long(std::string_view word, JoinRoom& room, uint32_t* out) const {
  // Tokens stay at the place of their first byte. The heap holds ranks above places; one that no longer is the rank of
  // its place is passed over.
  const std::size_t size = word.size();
  room.ids.resize(size);
  room.ranks.resize(size);
  room.links.resize(2 * size);
  uint32_t* const next = room.links.data();
  uint32_t* const before = next + size;
  std::vector<uint64_t>& heap = room.heap;
  heap.clear();
  const auto later = std::greater<uint64_t>();
  for (std::size_t i = 0; i < size; ++i) {
    room.ids[i] = bytes_[byte_at(word, i)];
    next[i] = static_cast<uint32_t>(i + 1);
    before[i] = static_cast<uint32_t>(i) - 1;
    room.ranks[i] = i + 1 < size ? of_bytes_[std::size_t{byte_at(word, i)} << 8 | byte_at(word, i + 1)] : kNone;
    if (room.ranks[i] != kNone) heap.push_back(static_cast<uint64_t>(room.ranks[i]) << 32 | i);
  }
  std::make_heap(heap.begin(), heap.end(), later);
  const auto look = [&](std::size_t at) {
    room.ranks[at] = next[at] < size ? rank(room.ids[at], room.ids[next[at]]) : kNone;
    if (room.ranks[at] == kNone) return;
    heap.push_back(static_cast<uint64_t>(room.ranks[at]) << 32 | at);
    std::push_heap(heap.begin(), heap.end(), later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const auto found = static_cast<int32_t>(heap.back() >> 32);
    const std::size_t at = heap.back() & UINT32_MAX;
    heap.pop_back();
    if (room.ranks[at] != found) continue;
    const std::size_t gone = next[at];
    room.ids[at] = made_[static_cast<std::size_t>(found)];
    room.ranks[gone] = kNone;
    next[at] = next[gone];
    if (next[at] < size) before[next[at]] = static_cast<uint32_t>(at);
    look(at);
    if (at > 0) look(before[at]);
  }
  for (std::size_t at = 0; at < size; at = next[at]) *out++ = room.ids[at];
  return out;
}

}  // namespace smolfast::bpe
