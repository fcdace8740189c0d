#include "bpe/merges.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>

namespace smolfast::bpe {
namespace {

// Two tokens in one number, the first above: numbers are ordered as pairs are.
using Pair = uint64_t;

constexpr Pair pair_of(uint32_t first, uint32_t second) {
  return uint64_t{first} << 32 | second;
}

// How often each pair comes.
class PairCounts {
 public:
  struct Entry {
    Pair pair = kNone;
    int64_t times = 0;
    uint32_t fresh = 0;  // its number, from 1 on, among the pairs that the merge at hand made
  };

  PairCounts() : entries_(std::size_t{1} << 16) {}

  // Null if it never came.
  Entry* find(Pair pair) {
    Entry& entry = entries_[place(pair)];
    return entry.pair == pair ? &entry : nullptr;
  }

  Entry& operator[](Pair pair) {
    std::size_t at = place(pair);
    if (entries_[at].pair != pair) {
      if (++size_ * 2 > entries_.size()) {
        grow();
        at = place(pair);
      }
      entries_[at].pair = pair;
    }
    return entries_[at];
  }

 private:
  static constexpr Pair kNone = ~Pair{0};

  std::size_t place(Pair pair) const {
    const std::size_t mask = entries_.size() - 1;
    std::size_t at = (pair * 0x9E3779B97F4A7C15u >> 32 ^ pair * 0xD6E8FEB86659FD93u) & mask;
    while (entries_[at].pair != pair && entries_[at].pair != kNone) at = (at + 1) & mask;
    return at;
  }

  void grow() {
    std::vector<Entry> before(entries_.size() * 2);
    before.swap(entries_);
    for (const Entry& entry : before) {
      if (entry.pair != kNone) entries_[place(entry.pair)] = entry;
    }
  }

  std::vector<Entry> entries_;
  std::size_t size_ = 0;
};

using Places = std::vector<uint32_t>;  // numbers of words

class MergeLearner {
 public:
  MergeLearner(const WordCounts& words, const MergeOptions& options) : words_(words), options_(options) {
    for (const uint8_t byte : byte_order()) add_token(std::string(1, static_cast<char>(byte)));
    starts_.reserve(words.size() + 1);
    starts_.push_back(0);
    uint32_t token_of[256];
    for (uint32_t token = 0; token < 256; ++token) token_of[static_cast<uint8_t>(tokens_[token][0])] = token;
    for (std::size_t i = 0; i < words.size(); ++i) {
      for (const char byte : words.word(i)) symbols_.push_back(token_of[static_cast<uint8_t>(byte)]);
      starts_.push_back(symbols_.size());
      sizes_.push_back(static_cast<uint32_t>(words.word(i).size()));
      const uint32_t* const symbols = symbols_.data() + starts_[i];
      for (std::size_t at = 0; at + 1 < sizes_[i]; ++at) raise(pair_of(symbols[at], symbols[at + 1]), i);
    }
    offer_fresh();
  }

  std::vector<std::pair<uint32_t, uint32_t>> learn() {
    std::vector<std::pair<uint32_t, uint32_t>> merges;
    while (tokens_.size() < options_.tokens && !candidates_.empty()) {
      Candidate top = pop();
      const int64_t times = counts_[top.pair].times;
      if (times < 1) continue;
      if (top.times != times) {
        top.times = times;
        push(std::move(top));
        continue;
      }
      if (static_cast<uint64_t>(times) < options_.least_times) break;
      const auto first = static_cast<uint32_t>(top.pair >> 32);
      const auto second = static_cast<uint32_t>(top.pair);
      const uint32_t merged = add_token(tokens_[first] + tokens_[second]);
      merges.emplace_back(first, second);
      for (const uint32_t word : top.places) merge(word, first, second, merged);
      offer_fresh();
    }
    return merges;
  }

 private:
  struct Candidate {
    int64_t times;
    Pair pair;
    uint64_t number;  // makes the order whole: a pair is offered again where a merge makes a token that there was
    Places places;
    bool operator<(const Candidate& other) const {
      if (times != other.times) return times < other.times;
      if (pair != other.pair) return pair > other.pair;
      return number > other.number;
    }
  };

  uint32_t add_token(std::string bytes) {
    const auto [found, is_new] = numbers_.try_emplace(bytes, static_cast<uint32_t>(tokens_.size()));
    if (is_new) tokens_.push_back(std::move(bytes));
    return found->second;
  }

  void push(Candidate candidate) {
    candidates_.push_back(std::move(candidate));
    std::push_heap(candidates_.begin(), candidates_.end());
  }

  Candidate pop() {
    std::pop_heap(candidates_.begin(), candidates_.end());
    Candidate top = std::move(candidates_.back());
    candidates_.pop_back();
    return top;
  }

  // The pair comes once more in the word.
  void raise(Pair pair, std::size_t word) {
    PairCounts::Entry& entry = counts_[pair];
    entry.times += static_cast<int64_t>(words_.times(word));
    if (entry.fresh == 0) {
      fresh_.push_back({0, pair, 0, {}});
      entry.fresh = static_cast<uint32_t>(fresh_.size());
    }
    Places& places = fresh_[entry.fresh - 1].places;
    if (places.empty() || places.back() != word) places.push_back(static_cast<uint32_t>(word));
  }

  void lower(Pair pair, std::size_t word) {
    if (PairCounts::Entry* const entry = counts_.find(pair)) entry->times -= static_cast<int64_t>(words_.times(word));
  }

  // Makes candidates of the pairs that came up.
  void offer_fresh() {
    ++step_;
    for (Candidate& candidate : fresh_) {
      PairCounts::Entry& entry = counts_[candidate.pair];
      entry.fresh = 0;
      candidate.times = entry.times;
      candidate.number = step_;
      if (entry.times > 0) push(std::move(candidate));
    }
    fresh_.clear();
  }

  void merge(std::size_t word, uint32_t first, uint32_t second, uint32_t merged) {
    uint32_t* const symbols = symbols_.data() + starts_[word];
    const std::size_t size = sizes_[word];
    const auto may_join = [&](uint32_t neighbour) {
      return tokens_[neighbour].size() + tokens_[merged].size() <= options_.longest_token;
    };
    std::size_t to = 0;
    for (std::size_t at = 0; at < size;) {
      if (symbols[at] != first || at + 1 == size || symbols[at + 1] != second) {
        symbols[to++] = symbols[at++];
        continue;
      }
      if (to > 0) {
        const uint32_t before = symbols[to - 1];
        lower(pair_of(before, first), word);
        if (may_join(before)) raise(pair_of(before, merged), word);
      }
      if (at + 2 < size) {
        const uint32_t after = symbols[at + 2];
        lower(pair_of(second, after), word);
        if (may_join(after)) raise(pair_of(merged, after), word);
      }
      symbols[to++] = merged;
      at += 2;
    }
    sizes_[word] = static_cast<uint32_t>(to);
  }

  const WordCounts& words_;
  const MergeOptions& options_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, uint32_t> numbers_;
  // The words as tokens: word i lies from starts_[i] on and has sizes_[i] of them.
  std::vector<uint32_t> symbols_;
  std::vector<std::size_t> starts_;
  std::vector<uint32_t> sizes_;
  PairCounts counts_;
  std::vector<Candidate> candidates_;  // a heap
  std::vector<Candidate> fresh_;
  uint64_t step_ = 0;
};

}  // namespace

std::vector<uint8_t> byte_order() {
  std::vector<uint8_t> order;
  const auto is_shown = [](int byte) {
    return (byte > 0x20 && byte < 0x7F) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
  };
  for (const bool shown : {true, false}) {
    for (int byte = 0; byte < 256; ++byte) {
      if (is_shown(byte) == shown) order.push_back(static_cast<uint8_t>(byte));
    }
  }
  return order;
}

std::vector<std::pair<uint32_t, uint32_t>> learn_merges(const WordCounts& words, const MergeOptions& options) {
  return MergeLearner(words, options).learn();
}

}  // namespace smolfast::bpe
