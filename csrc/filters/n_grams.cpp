#include "filters/n_grams.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "filters/characters.h"

namespace smolfast::filters {
namespace {

// Bytes at the begin of an n-gram by which it is first looked for: about as many as n words mostly have.
std::size_t window_bytes(std::size_t n) {
  return std::max<std::size_t>(n / 2, 1) * 8;
}
constexpr std::size_t kMostWindow = NGrams::kMostWords / 2 * 8;

uint32_t hash_window(const char* at, std::size_t bytes, HashSeed seed) {
  uint64_t hash = bytes == 8 ? fold(load64(at) ^ seed.a, seed.b) : fold(load64(at) ^ seed.a, load64(at + 8) ^ seed.b);
  for (std::size_t i = 16; i < bytes; i += 8) hash = fold(load64(at + i) ^ hash, seed.b);
  return static_cast<uint32_t>(hash);
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

// Of hashes that occur once, one in twelve shares its slot: in slots for three times as many it was one in four.
void NGrams::count_grams(std::size_t grams) {
  std::size_t slots = 64;
  while (slots < 8 * grams) slots *= 2;
  counts_.assign(slots, 0);
  const std::size_t mask = slots - 1;
  for (std::size_t i = 0; i < grams; ++i) {
    uint16_t& count = counts_[grams_[i] & mask];
    count = static_cast<uint16_t>(count + (count < kMostCounted));
  }
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
    for (std::size_t i = 0; i < all; ++i) grams_[i] = n == 1 ? hashes_[i] : join(hashes_[i], hashes_[i + 1]);
    keep_repeated();
  }
  while (repeated_n_ < n) {
    ++repeated_n_;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < repeated_.size() && repeated_[i] + repeated_n_ <= size(); ++i) {
      grams_[kept] = join(grams_[i], hashes_[repeated_[i] + repeated_n_ - 1]);
      repeated_[kept++] = repeated_[i];
    }
    repeated_.resize(kept);
    keep_repeated();
  }
}

// Of the places in repeated_, those whose hash in grams_ is there twice.
void NGrams::keep_repeated() {
  const std::size_t all = repeated_.size();
  count_grams(all);
  repeated_counts_.resize(all);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < all; ++i) {
    const uint32_t hash = grams_[i];
    const auto count = static_cast<uint32_t>(counted(hash));
    grams_[kept] = hash;
    repeated_[kept] = repeated_[i];
    repeated_counts_[kept] = count == kMostCounted ? static_cast<uint32_t>(all) : count;
    kept += count > 1;
  }
  repeated_.resize(kept);
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
  const HashSeed seed = draw_hash_seed();
  if (places_n_ > n) places_n_ = 0;
  const bool all = places_n_ == 0;
  const std::size_t window = window_bytes(n);
  const std::size_t last_window = all ? 0 : window_bytes(places_n_);
  places_n_ = n;
  if (all) {
    places_.resize(size() < n ? 0 : size() - n + 1);
    std::iota(places_.begin(), places_.end(), 0);
  }
  while (!places_.empty() && places_.back() + n > size()) places_.pop_back();
  if (window == last_window) return;
  grams_.resize(std::max(grams_.size(), places_.size()));
  repeated_n_ = 0;  // grams_ isn't of n-grams any more
  for (std::size_t i = 0; i < places_.size(); ++i) {
    grams_[i] = hash_window(squeezed_.data() + offsets_[places_[i]], window, seed);
  }
  count_grams(places_.size());
  std::size_t kept = 0;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const uint32_t place = places_[i];
    places_[kept] = place;
    kept += counted(grams_[i]) > 1 || bytes_of(place, n) < window;
  }
  places_.resize(kept);
}

std::size_t NGrams::duplicated_bound(std::size_t n) {
  find_places(n);
  return known_duplicated_bound(n);
}

std::size_t NGrams::known_duplicated_bound(std::size_t n) const {
  if (places_n_ == 0 || places_n_ > n) return kUnknown;
  // The bytes of all n-grams at places, each byte once: those that are counted don't overlap.
  std::size_t bytes = 0;
  std::size_t end = 0;
  for (const uint32_t place : places_) {
    if (place + n > size()) break;
    bytes += offsets_[place + n] - std::max<std::size_t>(offsets_[place], end);
    end = offsets_[place + n];
  }
  return bytes;
}

std::size_t NGrams::duplicated(std::size_t n) {
  const HashSeed seed = draw_hash_seed();
  find_places(n);
  // A slot is the upper half of a hash, and a place + 1.
  std::size_t slots = 64;
  while (slots < 2 * places_.size()) slots *= 2;
  slots_.assign(slots, 0);
  std::size_t characters = 0;
  std::size_t next = 0;
  for (const uint32_t place : places_) {
    if (place < next) continue;
    const std::string_view bytes = gram(place, n);
    const uint64_t hash = hash_bytes(bytes, seed);
    const uint64_t upper = hash >> 32 << 32;
    for (std::size_t slot = hash & (slots - 1);; slot = (slot + 1) & (slots - 1)) {
      const uint64_t held = slots_[slot];
      if (held == 0) {
        slots_[slot] = upper | (place + 1);
        break;
      }
      if ((held >> 32 << 32) == upper && gram(static_cast<uint32_t>(held) - 1, n) == bytes) {
        characters += count_characters(bytes);
        next = place + n;
        break;
      }
    }
  }
  return characters;
}

}  // namespace smolfast::filters
