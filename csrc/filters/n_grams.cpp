#include "filters/n_grams.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "filters/characters.h"

namespace smolfast::filters {
namespace {

// Bytes at the begin of an n-gram that stand for it when it is first looked for.
constexpr std::size_t kWindow = 16;

uint64_t join(uint64_t gram, uint64_t word) {
  return fold(gram ^ 0x9E3779B97F4A7C15u, word ^ 0xD6E8FEB86659FD93u);
}

}  // namespace

void NGrams::reset(std::string_view text, const std::vector<text::Word>& words) {
  const HashSeed seed = draw_hash_seed();
  repeated_n_ = 0;
  places_least_ = 0;
  spaced_ = false;
  squeezed_.clear();
  char* out = squeezed_.room(text.size() + kWindow);
  const char* const begin = out;
  offsets_.resize(words.size() + 1);
  hashes_.resize(words.size());
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = text.substr(words[i].begin, words[i].end - words[i].begin);
    offsets_[i] = static_cast<uint32_t>(out - begin);
    hashes_[i] = hash_bytes(word, seed);
    std::memcpy(out, word.data(), word.size());
    out += word.size();
  }
  offsets_[words.size()] = static_cast<uint32_t>(out - begin);
  std::memset(out, 0, kWindow);
  squeezed_.commit(out);
  spaced_ = std::memchr(squeezed_.data(), ' ', squeezed_.size()) != nullptr;
}

bool NGrams::same_words(std::size_t a, std::size_t b, std::size_t n) const {
  // The bytes are known to be equal: so are the words if they end at the same places.
  for (std::size_t i = 1; i < n; ++i) {
    if (offsets_[a + i] - offsets_[a] != offsets_[b + i] - offsets_[b]) return false;
  }
  return true;
}

// Counts hash(0) to hash(places - 1), to two.
template <typename Hash>
void NGrams::count_hashes(std::size_t places, Hash&& hash) {
  std::size_t slots = 64;
  while (slots < 4 * places) slots *= 2;
  counts_.assign(slots, 0);
  const std::size_t mask = slots - 1;
  for (std::size_t i = 0; i < places; ++i) {
    uint8_t& count = counts_[hash(i) & mask];
    count = static_cast<uint8_t>(count + (count < 2));
  }
}

std::size_t NGrams::top(std::size_t n) {
  if (size() < n) return 0;
  if (spaced_) return top_joined(n);
  if (repeated_n_ == 0 || repeated_n_ > n) {
    repeated_.resize(size());
    std::iota(repeated_.begin(), repeated_.end(), 0);
    grams_ = hashes_;
    repeated_n_ = 1;
  }
  // What starts an n-gram that occurs twice starts a shorter one that does.
  while (repeated_n_ < n) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < repeated_.size(); ++i) {
      const std::size_t last = repeated_[i] + repeated_n_;
      if (last >= size()) break;
      grams_[kept] = join(grams_[i], hashes_[last]);
      repeated_[kept++] = repeated_[i];
    }
    repeated_.resize(kept);
    ++repeated_n_;
    count_hashes(repeated_.size(), [&](std::size_t i) { return grams_[i]; });
    kept = 0;
    for (std::size_t i = 0; i < repeated_.size(); ++i) {
      const uint64_t hash = grams_[i];
      grams_[kept] = hash;
      repeated_[kept] = repeated_[i];
      kept += is_repeated(hash);
    }
    repeated_.resize(kept);
  }
  const RangeSet::Entry* most = nullptr;
  seen_.reset(repeated_.size());
  for (std::size_t i = 0; i < repeated_.size(); ++i) {
    const std::size_t first = repeated_[i];
    ++seen_
          .find(gram(first, n), grams_[i], first,
                [&](const RangeSet::Entry& entry) { return same_words(entry.tag, first, n); })
          .count;
  }
  for (const RangeSet::Entry& entry : seen_.entries()) {
    if (most == nullptr || entry.count > most->count) most = &entry;
  }
  // All occur once: the first.
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
  const RangeSet::Entry* most = nullptr;
  for (const RangeSet::Entry& entry : seen_.entries()) {
    if (most == nullptr || entry.count > most->count) most = &entry;
  }
  return count_characters(most->bytes) * most->count;
}

// Equal n-grams, however their words are cut, have equal first bytes: those of kWindow bytes or more an equal window.
// Those that may be shorter are kept all.
void NGrams::find_places(std::size_t least) {
  const HashSeed seed = draw_hash_seed();
  places_least_ = least;
  places_.clear();
  if (size() < least) return;
  const std::size_t last = size() - least;
  const auto window = [&](std::size_t i) {
    const char* const at = squeezed_.data() + offsets_[i];
    return fold(load64(at) ^ seed.a, load64(at + 8) ^ seed.b);
  };
  count_hashes(last + 1, window);
  places_.resize(last + 1);
  std::size_t kept = 0;
  for (std::size_t i = 0; i <= last; ++i) {
    places_[kept] = static_cast<uint32_t>(i);
    kept += is_repeated(window(i)) || offsets_[i + least] - offsets_[i] < kWindow;
  }
  places_.resize(kept);
}

std::size_t NGrams::duplicated(std::size_t n, std::size_t least) {
  const HashSeed seed = draw_hash_seed();
  if (places_least_ != least) find_places(least);
  seen_.reset(places_.size());
  std::size_t characters = 0;
  std::size_t next = 0;
  for (const uint32_t place : places_) {
    if (place < next) continue;
    if (place + n > size()) break;
    const std::string_view bytes = gram(place, n);
    RangeSet::Entry& entry = seen_.find(bytes, hash_bytes(bytes, seed));
    if (entry.count++ == 0) continue;
    characters += count_characters(bytes);
    next = place + n;
  }
  return characters;
}

}  // namespace smolfast::filters
