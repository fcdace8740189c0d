#include "filters/n_grams.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "filters/characters.h"

namespace smolfast::filters {
namespace {

// Bytes at the begin of an n-gram by which it is first looked for: about as many as n words mostly have.
std::size_t window_bytes(std::size_t n) {
  return n < 4 ? 8 : 16;
}
constexpr std::size_t kMostWindow = 16;

uint32_t hash_window(const char* at, std::size_t bytes, HashSeed seed) {
  const uint64_t high = bytes == 8 ? 0 : load64(at + 8);
  return static_cast<uint32_t>(hash_short(load64(at), high, bytes, seed));
}

// Of an n-gram's ends and size.
uint64_t hash_ends(std::string_view bytes, HashSeed seed) {
  if (bytes.size() < 16) return hash_bytes(bytes, seed);
  const char* const tail = bytes.data() + bytes.size() - 16;
  const uint64_t head = hash_short(load64(bytes.data()), load64(bytes.data() + 8), bytes.size(), seed);
  return fold(head ^ load64(tail), load64(tail + 8) ^ seed.b);
}

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
  repeated_n_ = 0;
  places_n_ = 0;
  squeezed_.clear();
  char* out = squeezed_.room(text.size() + kMostWindow);
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
  std::memset(out, 0, kMostWindow);
  squeezed_.commit(out);
  spaced_ = std::memchr(squeezed_.data(), ' ', squeezed_.size()) != nullptr;
}

bool NGrams::same_words(std::size_t a, std::size_t b, std::size_t n) const {
  // The bytes are known to be equal: so are the words if they end at the same places.
  for (std::size_t i = 1; i < n; ++i) {
    if (bytes_of(a, i) != bytes_of(b, i)) return false;
  }
  return true;
}

// In 8 slots for each, one in twelve of the hashes that occur once shares its slot; in 16, one in twenty.
// Very long documents share more, lest most of the time is spent in memory far away.
std::size_t NGrams::slots_for(std::size_t grams, std::size_t times) {
  constexpr std::size_t kMostSlots = std::size_t{1} << 20;
  std::size_t slots = 64;
  while (slots < times * grams && slots < kMostSlots) slots *= 2;
  return slots;
}

// Counts the hashes in grams_ of the places in repeated_, and keeps the places whose hash is there twice.
void NGrams::keep_repeated() {
  const std::size_t all = grams_.size();
  const std::size_t slots = slots_for(all, 8);
  counts_.assign(slots, 0);
  const std::size_t mask = slots - 1;
  for (const uint32_t hash : grams_) {
    uint16_t& count = counts_[hash & mask];
    count = static_cast<uint16_t>(count + (count < kMostCounted));
  }
  repeated_counts_.resize(std::max(repeated_counts_.size(), all));
  std::size_t kept = 0;
  for (std::size_t i = 0; i < all; ++i) {
    const uint32_t hash = grams_[i];
    const uint32_t count = counts_[hash & mask];
    grams_[kept] = hash;
    repeated_[kept] = repeated_[i];
    repeated_counts_[kept] = count == kMostCounted ? static_cast<uint32_t>(all) : count;
    kept += count > 1;
  }
  grams_.resize(kept);
  repeated_.resize(kept);
}

// What starts an n-gram that occurs twice starts a shorter one that does. (Almost all words are repeated: so begin with
// two.)
void NGrams::find_repeated(std::size_t n) {
  if (repeated_n_ == 0 || repeated_n_ > n) {
    repeated_n_ = std::min<std::size_t>(n, 2);
    const std::size_t all = size() + 1 - repeated_n_;
    repeated_.resize(all);
    std::iota(repeated_.begin(), repeated_.end(), 0);
    grams_.resize(all);
    if (n == 1) {
      std::copy(hashes_.begin(), hashes_.end(), grams_.begin());
    } else {
      for (std::size_t i = 0; i < all; ++i) grams_[i] = join(hashes_[i], hashes_[i + 1]);
    }
    keep_repeated();
  }
  while (repeated_n_ < n) {
    ++repeated_n_;
    while (!repeated_.empty() && repeated_.back() + repeated_n_ > size()) repeated_.pop_back();
    grams_.resize(repeated_.size());
    for (std::size_t i = 0; i < repeated_.size(); ++i) {
      grams_[i] = join(grams_[i], hashes_[repeated_[i] + repeated_n_ - 1]);
    }
    keep_repeated();
  }
}

std::size_t NGrams::known_top_bound(std::size_t n) const {
  if (size() < n) return 0;
  if (spaced_ || repeated_n_ == 0 || repeated_n_ > n) return kUnknown;
  // If all occur once, the first is the top one.
  std::size_t bound = bytes_of(0, n) + n - 1;
  for (std::size_t i = 0; i < repeated_.size() && repeated_[i] + n <= size(); ++i) {
    bound = std::max<std::size_t>(bound, repeated_counts_[i] * (bytes_of(repeated_[i], n) + n - 1));
  }
  return bound;
}

std::size_t NGrams::top_bound(std::size_t n) {
  if (size() < n) return 0;
  if (spaced_) return top_joined(n);
  find_repeated(n);
  return known_top_bound(n);
}

std::size_t NGrams::top(std::size_t n) {
  if (size() < n) return 0;
  if (spaced_) return top_joined(n);
  find_repeated(n);
  seen_.reset(repeated_.size());
  for (std::size_t i = 0; i < repeated_.size(); ++i) {
    const std::size_t first = repeated_[i];
    ++seen_
          .find(gram(first, n), grams_[i], first,
                [&](const RangeSet::Entry& entry) { return same_words(entry.tag, first, n); })
          .count;
  }
  const RangeSet::Entry* const most = find_most(seen_);
  if (most == nullptr || most->count < 2) return count_characters(gram(0, n)) + n - 1;
  return (count_characters(most->bytes) + n - 1) * most->count;
}

// The same where words hold spaces, so that other words joined may be equal.
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

// Equal n-grams, however their words are cut, are of equal size and begin with equal windows, where they are as long as
// one. So a place stays if its window is there twice or if its n-gram may be shorter, and what isn't a place for n
// words is none for more.
void NGrams::find_places(std::size_t n) {
  if (places_n_ != 0 && places_n_ <= n) return;
  places_n_ = n;
  places_.clear();
  later_.clear();
  if (size() < n) return;
  const HashSeed seed = draw_hash_seed();
  const std::size_t window = window_bytes(n);
  const std::size_t all = size() - n + 1;
  const std::size_t slots = slots_for(all, 16);
  const auto mask = static_cast<uint32_t>(slots - 1);
  windows_.resize(all);
  seen_windows_.assign(slots, 0);
  for (std::size_t i = 0; i < all; ++i) {
    windows_[i] = hash_window(squeezed_.data() + offsets_[i], window, seed) & mask;
    uint8_t& seen = seen_windows_[windows_[i]];
    seen = static_cast<uint8_t>(seen + (seen < 2));
  }
  places_.resize(all);
  later_.resize(all);
  std::size_t kept = 0;
  std::size_t later = 0;
  for (std::size_t i = 0; i < all; ++i) {
    uint8_t& seen = seen_windows_[windows_[i]];
    const bool is_short = bytes_of(i, n) < window;
    const bool is_kept = seen > 1 || is_short;
    places_[kept] = static_cast<uint32_t>(i);
    kept += is_kept;
    later_[later] = static_cast<uint32_t>(i);
    later += seen > 2 || is_short;
    seen = static_cast<uint8_t>(seen + (seen == 2));  // the first one is met
  }
  places_.resize(kept);
  later_.resize(later);
}

// Fills left_, and gives the bytes of all n-grams that may equal one before, each byte once: those that are counted
// don't overlap.
std::size_t NGrams::bound_later(std::size_t n) {
  while (!later_.empty() && later_.back() + n > size()) later_.pop_back();
  left_.resize(later_.size() + 1);
  left_.back() = 0;
  uint32_t next = offsets_.back();
  for (std::size_t i = later_.size(); i-- > 0;) {
    const uint32_t begin = offsets_[later_[i]];
    left_[i] = left_[i + 1] + std::min(offsets_[later_[i] + n], next) - begin;
    next = begin;
  }
  return left_.front();
}

// Whether n-grams that equal one before by a hash of their ends and size have more bytes.
bool NGrams::ends_exceed(std::size_t n, std::size_t most) {
  const HashSeed seed = draw_hash_seed();
  const std::size_t slots = slots_for(places_.size(), 16);
  seen_windows_.assign(slots, 0);
  std::size_t bytes = 0;
  std::size_t end = 0;
  std::size_t later = 0;
  for (const uint32_t place : places_) {
    if (place + n > size()) break;
    uint8_t& seen = seen_windows_[hash_ends(gram(place, n), seed) & (slots - 1)];
    if (later < later_.size() && later_[later] == place) {
      ++later;
      if (seen != 0) {
        bytes += offsets_[place + n] - std::max<std::size_t>(offsets_[place], end);
        end = offsets_[place + n];
        if (bytes > most) return true;
      }
      if (bytes + left_[later] <= most) return false;
    }
    seen = 1;
  }
  return false;
}

bool NGrams::duplicated_exceeds(std::size_t n, std::size_t most) {
  find_places(n);
  if (bound_later(n) <= most || !ends_exceed(n, most)) return false;
  return count_duplicated(n, most) > most;
}

std::size_t NGrams::duplicated(std::size_t n) {
  find_places(n);
  return count_duplicated(n, kUnknown);
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
