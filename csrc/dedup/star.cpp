#include "dedup/star.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/threads.h"
#include "dedup/clusters.h"

namespace smolfast::dedup {
namespace {

constexpr std::size_t kHeldBytes = 64 << 10;

// Places of documents by the key of a band: open addressing, up to kKeptOfBand entries a key.
class BandTable {
 public:
  bool empty() const { return used_ == 0; }

  void add(uint64_t key, uint32_t place) {
    if (2 * (used_ + 1) > entries_.size()) grow();
    put({key, place});
  }

  void find(uint64_t key, std::vector<uint32_t>& places) const {
    for (std::size_t at = slot(key); entries_[at].key != kNoKey; at = (at + 1) & (entries_.size() - 1)) {
      if (entries_[at].key == key) places.push_back(entries_[at].place);
    }
  }

 private:
  struct Entry {
    uint64_t key = kNoKey;
    uint32_t place = 0;
  };

  std::size_t slot(uint64_t key) const { return (key * 0x9E3779B97F4A7C15u >> 20) & (entries_.size() - 1); }

  void put(Entry entry) {
    std::size_t same = 0;
    std::size_t at = slot(entry.key);
    for (; entries_[at].key != kNoKey; at = (at + 1) & (entries_.size() - 1)) {
      same += entries_[at].key == entry.key;
      if (same == kKeptOfBand) return;
    }
    entries_[at] = entry;
    ++used_;
  }

  void grow() {
    std::vector<Entry> before(std::max<std::size_t>(256, 2 * entries_.size()));
    before.swap(entries_);
    used_ = 0;
    for (const Entry& entry : before) {
      if (entry.key != kNoKey) put(entry);
    }
  }

  std::vector<Entry> entries_;
  std::size_t used_ = 0;
};

// The documents of one cluster that stay, best first.
class Kept {
 public:
  explicit Kept(const Star& star) : star_(star) {}

  // One of the same text.
  const uint32_t* of_text(uint32_t document) const {
    const uint32_t text = star_.texts[document];
    for (std::size_t i = 0; i < std::min(documents_.size(), kFirstKept); ++i) {
      if (star_.texts[documents_[i]] == text) return &documents_[i];
    }
    const auto found = later_.find(text);
    return found == later_.end() ? nullptr : &documents_[found->second];
  }

  // The best that is like it.
  const uint32_t* like(uint32_t document) {
    if (documents_.empty()) return nullptr;
    const auto own = star_.alike.read(document, scratch_);
    const auto is_like = [&](std::span<const char> kept) {
      ++compared;
      return star_.alike.jaccard(kept, own) >= star_.threshold;
    };
    for (std::size_t i = 0; i < std::min(documents_.size(), kFirstKept); ++i) {
      if (is_like(i < held_.size() ? held_[i].bytes : star_.alike.read(documents_[i], other_))) return &documents_[i];
    }
    if (bands_.empty()) return nullptr;
    places_.clear();
    star_.signatures.keys(document, star_.bands, star_.rows, keys_);
    for (const uint64_t key : keys_) {
      if (key != kNoKey) bands_.find(key, places_);
    }
    std::sort(places_.begin(), places_.end());
    places_.erase(std::unique(places_.begin(), places_.end()), places_.end());
    for (const uint32_t place : places_) {
      if (is_like(star_.alike.read(documents_[place], other_))) return &documents_[place];
    }
    return nullptr;
  }

  void add(uint32_t document) {
    const auto place = static_cast<uint32_t>(documents_.size());
    documents_.push_back(document);
    if (place >= kFirstKept) {
      later_.try_emplace(star_.texts[document], place);
      star_.signatures.keys(document, star_.bands, star_.rows, keys_);
      for (const uint64_t key : keys_) {
        if (key != kNoKey) bands_.add(key, place);
      }
    } else if (held_.size() == place) {
      // Small ones are read once.
      Held& held = held_.emplace_back();
      held.bytes = star_.alike.read(document, held.scratch);
      if (held.scratch.size() > kHeldBytes) held_.pop_back();
    }
  }

  uint64_t compared = 0;

 private:
  struct Held {
    std::vector<char> scratch;
    std::span<const char> bytes;
  };

  const Star& star_;
  std::vector<uint32_t> documents_;
  std::vector<Held> held_;                        // of the first
  std::unordered_map<uint32_t, uint32_t> later_;  // the place of each text after the first kFirstKept
  BandTable bands_;                               // of those
  std::vector<char> scratch_;
  std::vector<char> other_;
  std::vector<uint64_t> keys_;
  std::vector<uint32_t> places_;
};

}  // namespace

uint64_t Star::choose(std::span<const uint32_t> cluster, uint32_t* stays) const {
  Kept kept(*this);
  for (const uint32_t document : cluster) {
    const bool is_protected = document < protected_documents;
    const uint32_t* for_it = kept.of_text(document);
    // Of the protected of one text and signature, one is enough to compare with.
    if (is_protected && for_it != nullptr && text_decides) {
      *stays++ = document;
      continue;
    }
    if (is_protected) {
      for_it = nullptr;
    } else if (for_it == nullptr) {
      for_it = kept.like(document);
    }
    *stays++ = for_it == nullptr ? document : *for_it;
    if (for_it == nullptr) kept.add(document);
  }
  return kept.compared;
}

uint64_t choose_stars(const Star& star, std::span<const uint32_t> documents, std::span<const int64_t> starts,
                      int threads, uint32_t* stays) {
  constexpr std::size_t kTask = 4096;
  // Clusters that begin in the same stretch of documents are one task.
  const std::size_t tasks = (documents.size() + kTask - 1) / kTask;
  std::vector<uint64_t> compared(tasks);
  parallel_for(tasks, threads, [&](std::size_t task) {
    const auto first = std::lower_bound(starts.begin(), starts.end() - 1, static_cast<int64_t>(task * kTask));
    const auto last = std::lower_bound(first, starts.end() - 1, static_cast<int64_t>((task + 1) * kTask));
    for (auto start = first; start < last; ++start) {
      const auto begin = static_cast<std::size_t>(start[0]);
      compared[task] +=
          star.choose(documents.subspan(begin, static_cast<std::size_t>(start[1]) - begin), stays + begin);
    }
  });
  uint64_t total = 0;
  for (const uint64_t count : compared) total += count;
  return total;
}

}  // namespace smolfast::dedup
