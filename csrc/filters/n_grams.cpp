#include "filters/n_grams.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "filters/characters.h"

namespace smolfast::filters {
namespace {

constexpr std::size_t kUnknown = std::numeric_limits<std::size_t>::max();

// The words' hashes are those of a seed that nobody knows, so that a sum of products is good enough.
uint32_t join(uint32_t gram, uint32_t word) {
  return gram * 0x9E3779B1u + word;
}

const RangeSet::Entry* find_most(const RangeSet& seen) {
  const RangeSet::Entry* most = nullptr;
  for (const RangeSet::Entry& entry : seen.entries()) {
    if (most == nullptr || entry.count > most->count) most = &entry;
  }
  return most;
}

}  // namespace

void NGrams::reset(std::string_view text, const text::MeasuredWords& measured) {
  const std::span<const text::Word> words = measured.words();
  hashes_ = measured.hashes();
  counted_words_ = 0;
  has_matches_ = false;
  places_n_ = 0;
  squeezed_.clear();
  char* out = squeezed_.room(text.size() + EarlierMatches::kReadable);
  const char* const begin = out;
  const char* const whole_loads = text.size() < 16 ? text.data() : text.data() + text.size() - 16;
  offsets_.resize(words.size() + 1);
  for (std::size_t i = 0; i < words.size(); ++i) {
    const char* const from = text.data() + words[i].begin;
    const std::size_t size = words[i].end - words[i].begin;
    offsets_[i] = static_cast<uint32_t>(out - begin);
    if (size <= 16 && from < whole_loads) [[likely]] {
      std::memcpy(out, from, 16);
    } else {
      std::memcpy(out, from, size);
    }
    out += size;
  }
  offsets_[words.size()] = static_cast<uint32_t>(out - begin);
  std::memset(out, 0, EarlierMatches::kReadable);
  squeezed_.commit(out);
  spaced_ = std::memchr(squeezed_.data(), ' ', squeezed_.size()) != nullptr;
}

inline std::size_t NGrams::start_slot(std::size_t first) const {
  const uint32_t hash = counted_words_ == 1 ? hashes_[first] : join(hashes_[first], hashes_[first + 1]);
  return hash & (counts_.size() - 1);
}

// No less than how often an n-gram is there that begins with this word.
inline std::size_t NGrams::start_count(std::size_t first) const {
  const std::size_t count = counts_[start_slot(first)];
  return count < kMostCounted ? count : size();
}

// Of pairs, the count so far times the characters of four words from there is a bound as well: where a longer n-gram
// that begins with the pair is met for the last time, that is no less than all its characters.
void NGrams::count_starts(std::size_t words) {
  if (counted_words_ == words) return;
  counted_words_ = words;
  constexpr std::size_t kMostSlots = std::size_t{1} << 20;
  std::size_t slots = 64;
  while (slots < 4 * size() && slots < kMostSlots) slots *= 2;
  counts_.assign(slots, 0);
  const std::size_t all = size() + 1 - words;
  if (words == 1 || all >= kMostCounted) {
    for (std::size_t i = 0; i < all; ++i) {
      uint16_t& count = counts_[start_slot(i)];
      count = static_cast<uint16_t>(count + (count < kMostCounted));
    }
    start_bound_ = kUnknown;
    return;
  }
  std::size_t bound = 1;
  for (std::size_t i = 0; i < all; ++i) {
    uint16_t& count = counts_[join(hashes_[i], hashes_[i + 1]) & (slots - 1)];
    const std::size_t end = offsets_[std::min(i + kBoundTo, size())];
    bound = std::max<std::size_t>(bound, ++count * (end - offsets_[i] + kBoundTo - 1));
  }
  start_bound_ = bound;
}

// Puts the places into places_ for which wanted(place, count of its start) is true.
template <typename Wanted>
inline void NGrams::choose_places(std::size_t n, Wanted&& wanted) {
  places_n_ = 0;
  const std::size_t all = size() + 1 - n;
  if (places_.size() < all) places_.resize(all);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < all; ++i) {
    places_[kept] = static_cast<uint32_t>(i);
    kept += wanted(i, start_count(i));
  }
  places_.resize(kept);
}

bool NGrams::same_words(std::size_t a, std::size_t b, std::size_t n) const {
  // The bytes are known to be equal: so are the words if they end at the same places.
  for (std::size_t i = 1; i < n; ++i) {
    if (bytes_of(a, i) != bytes_of(b, i)) return false;
  }
  return true;
}

// Of the n-grams at the places, the one that is there most often.
const RangeSet::Entry* NGrams::count_places(std::size_t n) {
  seen_.reset(places_.size());
  for (const uint32_t first : places_) {
    uint32_t hash = hashes_[first];
    for (std::size_t i = 1; i < n; ++i) hash = join(hash, hashes_[first + i]);
    ++seen_
          .find(gram(first, n), hash, first,
                [&](const RangeSet::Entry& entry) { return same_words(entry.tag, first, n); })
          .count;
  }
  return find_most(seen_);
}

std::size_t NGrams::top_of(const RangeSet::Entry& entry, std::size_t n) const {
  return (count_characters(entry.bytes) + n - 1) * entry.count;
}

// Looks among ever rarer starts until an n-gram is there so often that no other start can have one more often.
std::size_t NGrams::top(std::size_t n) {
  if (size() < n) return 0;
  if (spaced_) return top_joined(n);
  count_starts(std::min<std::size_t>(n, 2));
  std::size_t least = 1;
  for (std::size_t i = 0; i + n <= size(); ++i) least = std::max(least, start_count(i));
  while (least > 1) {
    choose_places(n, [least](std::size_t, std::size_t count) { return count >= least; });
    const RangeSet::Entry* const most = count_places(n);
    if (most->count >= least) return top_of(*most, n);
    if (least == 2) break;  // all are there once
    least = std::max<std::size_t>({most->count, least / 4, 2});
  }
  return count_characters(gram(0, n)) + n - 1;
}

bool NGrams::top_exceeds(std::size_t n, std::size_t most) {
  if (size() < n) return false;
  if (spaced_) return top_joined(n) > most;
  count_starts(std::min<std::size_t>(n, 2));
  if (n >= 2 && n <= kBoundTo && start_bound_ <= most) return false;
  choose_places(n, [&](std::size_t i, std::size_t count) { return count * (bytes_of(i, n) + n - 1) > most; });
  if (places_.empty()) return false;
  count_places(n);
  std::size_t least = 0;
  for (const RangeSet::Entry& entry : seen_.entries()) {
    if (entry.count > least && entry.count * (entry.bytes.size() + n - 1) > most) least = entry.count;
  }
  if (least == 0) return false;
  // The top one is there as often at least.
  choose_places(n, [least](std::size_t, std::size_t count) { return count >= least; });
  return top_of(*count_places(n), n) > most;
}

// The top one where words hold spaces, so that other words joined may be equal.
std::size_t NGrams::top_joined(std::size_t n) {
  const HashSeed seed = draw_hash_seed();
  joined_.clear();
  joined_offsets_.clear();
  for (std::size_t i = 0; i < size(); ++i) {
    joined_offsets_.push_back(static_cast<uint32_t>(joined_.size()));
    joined_.append(gram(i, 1));
    joined_.append(" ");
  }
  joined_offsets_.push_back(static_cast<uint32_t>(joined_.size()));
  seen_.reset(size());
  for (std::size_t i = 0; i + n <= size(); ++i) {
    const std::string_view bytes(joined_.data() + joined_offsets_[i], joined_offsets_[i + n] - joined_offsets_[i] - 1);
    ++seen_.find(bytes, hash_bytes(bytes, seed)).count;
  }
  const RangeSet::Entry* const most = find_most(seen_);
  return count_characters(most->bytes) * most->count;
}

const EarlierMatches& NGrams::matches() {
  if (!has_matches_) matches_.find(squeezed_.data(), offsets_);
  has_matches_ = true;
  return matches_;
}

bool NGrams::duplicated_exceeds(std::size_t n, std::size_t most) {
  if (n >= EarlierMatches::kLeastWords && n <= EarlierMatches::kMostWords &&
      (matches().bytes_bound(n) <= most || matches().characters_bound(n) <= most)) {
    return false;
  }
  return count_duplicated(n, most) > most;
}

std::size_t NGrams::duplicated(std::size_t n) {
  return count_duplicated(n, kUnknown);
}

// Where an n-gram may equal another. (Of few words almost any may.)
void NGrams::find_places(std::size_t n) {
  const std::size_t least = n < EarlierMatches::kLeastWords ? 1 : EarlierMatches::kLeastWords;
  if (places_n_ == least) return;
  places_n_ = least;
  if (least == 1) {
    places_.resize(size());
    std::iota(places_.begin(), places_.end(), 0);
  } else {
    matches();
    matches_.find_shared(places_);
  }
}

void NGrams::grow_slots(std::size_t n) {
  std::vector<uint64_t> old(2 * slots_.size());
  std::swap(old, slots_);
  const HashSeed seed = draw_hash_seed();
  for (const uint64_t held : old) {
    if (held == 0) continue;
    std::size_t slot = hash_bytes(gram(static_cast<uint32_t>(held) - 1, n), seed) & (slots_.size() - 1);
    while (slots_[slot] != 0) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = held;
  }
}

// No further than to where they are more than `most`.
std::size_t NGrams::count_duplicated(std::size_t n, std::size_t most) {
  find_places(n);
  const HashSeed seed = draw_hash_seed();
  // A slot is the upper half of a hash, and a place + 1.
  std::size_t slots = 64;
  while (slots < 2 * places_.size() && slots < kFirstSlots) slots *= 2;
  slots_.assign(slots, 0);
  std::size_t distinct = 0;
  std::size_t characters = 0;
  std::size_t next = 0;
  for (const uint32_t place : places_) {
    if (place + n > size()) break;
    if (place < next) continue;
    const std::string_view bytes = gram(place, n);
    const uint64_t hash = hash_bytes(bytes, seed);
    const uint64_t upper = hash >> 32 << 32;
    for (std::size_t slot = hash & (slots_.size() - 1);; slot = (slot + 1) & (slots_.size() - 1)) {
      const uint64_t held = slots_[slot];
      if (held == 0) {
        slots_[slot] = upper | (place + 1);
        if (2 * ++distinct > slots_.size()) grow_slots(n);
        break;
      }
      if ((held >> 32 << 32) == upper && gram(static_cast<uint32_t>(held) - 1, n) == bytes) {
        characters += count_characters(bytes);
        if (characters > most) return characters;
        next = place + n;
        break;
      }
    }
  }
  return characters;
}

}  // namespace smolfast::filters
