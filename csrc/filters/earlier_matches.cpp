#include "filters/earlier_matches.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "filters/characters.h"
#include "text/byte_classes.h"
#include "text/bytes.h"

namespace smolfast::filters {
namespace {

constexpr std::size_t kWindow = 16;
constexpr std::size_t kShortWindow = 8;
constexpr int kMostCompared = 8;  // places of a chain; with more, all may be equal

// Places that share it by chance cost a comparison, and long chains aren't followed: so no seed is needed.
inline uint64_t hash_window(uint64_t low, uint64_t high) {
  return low * 0x9E3779B97F4A7C15u + high * 0xD6E8FEB86659FD93u;
}

// How many of kCompared bytes are equal before one isn't.
constexpr std::size_t kCompared = 32;
#if defined(SMOLFAST_X86)
inline std::size_t count_equal(const char* a, const char* b) {
  uint64_t equal = 0;
  for (int i = 0; i < 2; ++i) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a) + i);
    const __m128i y = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b) + i);
    equal |= text::block_mask(_mm_cmpeq_epi8(x, y), i);
  }
  return static_cast<std::size_t>(std::countr_one(equal));
}
#else
inline std::size_t count_equal(const char* a, const char* b) {
  std::size_t equal = 0;
  while (equal < kCompared && a[equal] == b[equal]) ++equal;
  return equal;
}
#endif

}  // namespace

// Equal n-grams of sixteen bytes or more begin with equal windows of sixteen. One of fewer bytes, that of eight at
// least, has its like among those whose first five words have fewer than sixteen; shorter ones are taken for repeated.
void EarlierMatches::find(const char* squeezed, std::span<const uint32_t> offsets) {
  squeezed_ = squeezed;
  offsets_ = offsets;
  matches_.clear();
  candidate_count_ = 0;
  base_ = next_base_;
  if (offsets.size() <= kLeastWords) return;
  const std::size_t all = offsets.size() - kLeastWords;
  const int bits = std::clamp(static_cast<int>(std::bit_width(2 * all - 1)), 6, 20);
  if (base_ > std::numeric_limits<uint32_t>::max() - all) {
    for (Chains* chains : {&chains_, &short_chains_}) std::fill(chains->latest.begin(), chains->latest.end(), 0);
    base_ = 1;
  }
  for (Chains* chains : {&chains_, &short_chains_}) {
    if (chains->latest.size() < std::size_t{1} << bits) chains->latest.resize(std::size_t{1} << bits);
    if (chains->before.size() < all) chains->before.resize(2 * all);
  }
  if (candidates_.size() < all) candidates_.resize(2 * all);
  next_base_ = base_ + static_cast<uint32_t>(all);
  std::size_t count = 0;
  for (std::size_t i = 0; i < all; ++i) {
    const char* const at = squeezed + offsets[i];
    const std::size_t five = offsets[i + kLeastWords] - offsets[i];
    const auto number = base_ + static_cast<uint32_t>(i);
    const uint64_t low = text::load_eight(at);
    uint32_t& latest = chains_.latest[hash_window(low, text::load_eight(at + 8)) >> (64 - bits)];
    bool may_repeat = latest >= base_;
    chains_.before[i] = latest;
    latest = number;
    if (five < kWindow) {
      uint32_t& latest_short = short_chains_.latest[hash_window(low, 0) >> (64 - bits)];
      may_repeat = may_repeat || latest_short >= base_ || five < kShortWindow;
      short_chains_.before[i] = latest_short;
      latest_short = number;
    }
    candidates_[count] = static_cast<uint32_t>(i);
    count += may_repeat;
  }
  candidate_count_ = count;
  std::size_t equal_to = 0;  // how far what stands here equals something before
  for (std::size_t i = 0; i < count; ++i) {
    const uint32_t first = candidates_[i];
    const std::size_t begin = offsets[first];
    const std::size_t five = offsets[first + kLeastWords] - begin;
    const std::size_t last = std::min(first + kMostWords, offsets.size() - 1);
    const std::size_t enough = offsets[last] - begin;
    std::size_t end = equal_to;
    if (begin + enough > equal_to) {
      std::size_t bytes = longest_match(chains_, first, enough);
      if (five < kWindow) bytes = std::max(bytes, longest_match(short_chains_, first, enough));
      if (five < kShortWindow) bytes = std::max(bytes, kShortWindow - 1);
      if (bytes < five) continue;
      end = begin + bytes;
      equal_to = std::max(equal_to, end);
    }
    std::size_t words = kLeastWords;
    while (first + words < last && offsets[first + words + 1] <= end) ++words;
    matches_.push_back({first, static_cast<uint32_t>(words)});
  }
}

// The most bytes from `place` on that equal those from one before; no less than `enough` if they may be more.
std::size_t EarlierMatches::longest_match(const Chains& chains, uint32_t place, std::size_t enough) const {
  const char* const at = squeezed_ + offsets_[place];
  std::size_t longest = 0;
  uint32_t number = chains.before[place];
  for (int compared = 0; number >= base_; ++compared) {
    if (compared == kMostCompared) return enough;
    const uint32_t other = number - base_;
    number = chains.before[other];
    const char* const from = squeezed_ + offsets_[other];
    std::size_t equal = 0;
    std::size_t more = 0;
    do {
      more = count_equal(at + equal, from + equal);
      equal += more;
    } while (more == kCompared && equal < enough);
    if (equal >= enough) return equal;
    longest = std::max(longest, equal);
  }
  return longest;
}

void EarlierMatches::find_shared(std::vector<uint32_t>& places) {
  places.clear();
  if (candidate_count_ == 0) return;
  shared_.assign(offsets_.size() - kLeastWords, 0);
  for (std::size_t i = 0; i < candidate_count_; ++i) {
    const uint32_t first = candidates_[i];
    shared_[first] = 1;
    if (chains_.before[first] >= base_) shared_[chains_.before[first] - base_] = 1;
    const bool is_short = offsets_[first + kLeastWords] - offsets_[first] < kWindow;
    if (is_short && short_chains_.before[first] >= base_) shared_[short_chains_.before[first] - base_] = 1;
  }
  places.resize(shared_.size());
  std::size_t count = 0;
  for (std::size_t i = 0; i < shared_.size(); ++i) {
    places[count] = static_cast<uint32_t>(i);
    count += shared_[i];
  }
  places.resize(count);
}

// Stretches of bytes that n-grams cover, overlapping ones joined.
template <typename Body>
inline void EarlierMatches::each_stretch(std::size_t n, Body&& body) const {
  std::size_t begin = 0;
  std::size_t end = 0;
  for (const Match match : matches_) {
    if (match.words < n) continue;
    if (offsets_[match.first] > end) {
      body(begin, end);
      begin = offsets_[match.first];
    }
    end = offsets_[match.first + n];
  }
  body(begin, end);
}

std::size_t EarlierMatches::bytes_bound(std::size_t n) const {
  std::size_t bytes = 0;
  each_stretch(n, [&](std::size_t begin, std::size_t end) { bytes += end - begin; });
  return bytes;
}

std::size_t EarlierMatches::characters_bound(std::size_t n) const {
  std::size_t characters = 0;
  each_stretch(
      n, [&](std::size_t begin, std::size_t end) { characters += count_characters({squeezed_ + begin, end - begin}); });
  return characters;
}

}  // namespace smolfast::filters
