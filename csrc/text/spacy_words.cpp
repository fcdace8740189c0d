#include "text/spacy_words.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "text/spaces.h"
#include "text/spacy_chunk.h"
#include "text/spacy_rules.h"
#include "text/spacy_spaces.h"

namespace smolfast::text {
namespace {

// How chunks were cut before, each at a place of its own by its hash.
class ChunkCache {
 public:
  static constexpr std::size_t kWords = 5;  // of eight bytes
  static constexpr std::size_t kBytes = 8 * kWords;
  static constexpr std::size_t kTokens = 12;
  struct Entry {
    uint16_t size;  // of the chunk; 0: none
    uint16_t count;
    uint8_t ends[kTokens];
    uint64_t kinds;  // of the tokens, four bits each
    uint64_t chunk[kWords];
  };

  ChunkCache() : entries_(std::size_t{1} << kPlaces) {}
  // Where the chunk is or would be; `words` becomes its bytes, zeros behind them. Up to `text_end` may be read.
  Entry& place(const char* begin, std::size_t size, const char* text_end, uint64_t* words) {
    char copy[kBytes];
    if (static_cast<std::size_t>(text_end - begin) < kBytes) {
      std::memcpy(copy, begin, size);
      begin = copy;
    }
    uint64_t hash = size;
    std::size_t i = 0;
    for (; 8 * i + 8 <= size; ++i) {
      words[i] = load_eight(begin + 8 * i);
      hash = mix(hash ^ words[i]);
    }
    if (size % 8 != 0) {
      words[i] = load_eight(begin + 8 * i) & ((uint64_t{1} << (size % 8 * 8)) - 1);
      hash = mix(hash ^ words[i]);
    }
    return entries_[hash >> (64 - kPlaces)];
  }
  static bool holds(const Entry& entry, std::size_t size, const uint64_t* words) {
    if (entry.size != size) return false;
    uint64_t difference = 0;
    for (std::size_t i = 0; 8 * i < size; ++i) difference |= entry.chunk[i] ^ words[i];
    return difference == 0;
  }

 private:
  static constexpr int kPlaces = 13;
  static uint64_t mix(uint64_t x) {
    x *= 0x9E3779B97F4A7C15u;
    return x ^ x >> 29;
  }
  std::vector<Entry> entries_;
};

// A sequence of tokens found, by the first token and the one past the last.
struct Found {
  uint32_t first;
  uint32_t last;
};

}  // namespace

struct SpacyWords::State {
  explicit State(const SpacyRules& language) : rules(language), cutter(language) {}

  const SpacyRules& rules;
  ChunkCutter cutter;
  ChunkCache cache;
  std::vector<const char*> ends;
  std::vector<uint32_t> openings;  // numbers of tokens that may begin a sequence, and whose next one may go on with it
  std::size_t opening = 0;         // the number after the last token that may begin one
  std::vector<Found> found;
  std::vector<Word> rewritten;
  std::vector<Word> words;  // for sentences

  std::string_view text;
  const char* text_end = nullptr;
  std::size_t first = 0;  // words in `out` before this text's

  void scan(std::vector<Word>& out);
  void add(const char* begin, const char* end, uint8_t kinds, std::vector<Word>& out);
  void add_plain(const char* begin, const char* end, std::vector<Word>& out);
  bool add_closed(const char* begin, const char* end, std::vector<Word>& out);
  void add_odd(const char* begin, const char* end, std::vector<Word>& out);
  void find_sequences(const std::vector<Word>& out);
  void apply_sequences(std::vector<Word>& out);
  bool adjacent(const Word& a, const Word& b) const {
    return a.end == b.begin || (a.end + 1 == b.begin && text[a.end] == ' ');
  }
};

SpacyWords::SpacyWords(const SpacyRules& rules) : state_(std::make_unique<State>(rules)) {}
SpacyWords::~SpacyWords() = default;
SpacyWords::SpacyWords(SpacyWords&&) noexcept = default;
SpacyWords& SpacyWords::operator=(SpacyWords&&) noexcept = default;

void SpacyWords::words(std::string_view text, std::vector<Word>& out) {
  State& state = *state_;
  state.text = text;
  state.text_end = text.data() + text.size();
  state.opening = 0;
  state.first = out.size();
  state.openings.clear();
  state.scan(out);
  if (state.openings.empty()) return;
  state.find_sequences(out);
  if (!state.found.empty()) state.apply_sequences(out);
}

// Chunks are cut out of 64 bytes at a time; the next 64 begin with the chunk that these cut.
void SpacyWords::State::scan(std::vector<Word>& out) {
  const ClassifyChunks classify = choose_chunk_classes();
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    const auto left = static_cast<std::size_t>(end - at);
    const ChunkClasses classes = classify(at, left);
    const bool plain = classes.above == 0 ? rules.plain_ascii : rules.plain_pairs;
    const uint64_t odd = plain ? classes.odd : ~uint64_t{0};
    uint64_t word = ~classes.spaces;  // bytes of chunks not yet taken
    const char* next = at + std::min<std::size_t>(left, 64);
    while (next < end && is_continuation(*next)) ++next;  // the rest of a space
    while (word != 0) {
      const int begin = std::countr_zero(word);
      const uint64_t after = ~word & (~uint64_t{0} << begin);
      const int stop = after == 0 ? 64 : std::countr_zero(after);
      const uint64_t covered = (stop == 64 ? ~uint64_t{0} : (uint64_t{1} << stop) - 1) & (~uint64_t{0} << begin);
      if (stop == 64 && left > 64) {
        if (begin != 0) {
          next = at + begin;
        } else {
          // Longer than a block: read on to its end.
          const char* tail = at;
          for (;;) {
            const auto rest = static_cast<std::size_t>(end - tail);
            // A block that begins within a character sees no space where there is none.
            const uint64_t spaces = rest == 0 ? ~uint64_t{0} : classify(tail, rest).spaces;
            if (spaces != 0) {
              tail += std::countr_zero(spaces);
              break;
            }
            tail += std::min<std::size_t>(rest, 64);
            while (tail < end && is_continuation(*tail)) --tail;
          }
          tail = std::min(tail, end);
          add_odd(at, tail, out);
          next = tail;
        }
        break;
      }
      const uint64_t strange = odd & covered;
      if (strange == 0) {
        add_plain(at + begin, at + stop, out);
      } else if (!plain || strange != uint64_t{1} << (stop - 1) || stop - begin == 1 ||
                 !add_closed(at + begin, at + stop, out)) {
        add_odd(at + begin, at + stop, out);
      }
      word &= ~covered;
    }
    at = next;
  }
}

inline void SpacyWords::State::add(const char* begin, const char* end, uint8_t kinds, std::vector<Word>& out) {
  const Word word = {static_cast<uint32_t>(begin - text.data()), static_cast<uint32_t>(end - text.data())};
  if ((kinds & ~SpacyRules::kException) != 0) {
    const auto number = static_cast<uint32_t>(out.size());
    const bool follows = (kinds & SpacyRules::kSecond) != 0 && opening == number && number > first;
    if (follows && adjacent(out.back(), word) && (openings.empty() || openings.back() != number - 1)) {
      openings.push_back(number - 1);
    }
    if ((kinds & SpacyRules::kAlone) != 0) openings.push_back(number);
    if ((kinds & SpacyRules::kOpening) != 0) opening = number + 1;
  }
  out.push_back(word);
}

inline void SpacyWords::State::add_plain(const char* begin, const char* end, std::vector<Word>& out) {
  const uint8_t kinds = rules.kinds(begin, static_cast<std::size_t>(end - begin), text_end);
  if ((kinds & SpacyRules::kException) != 0) [[unlikely]] {
    add_odd(begin, end, out);
  } else {
    add(begin, end, kinds, out);
  }
}

// Plain letters and one byte behind them that is a suffix; false if it isn't so simple.
inline bool SpacyWords::State::add_closed(const char* begin, const char* end, std::vector<Word>& out) {
  const char* const last = end - 1;
  const auto byte = static_cast<unsigned char>(*last);
  if (byte >= 0x80 || rules.closing[byte] == SpacyRules::kNever) return false;
  if (rules.closing[byte] == SpacyRules::kAfterSome && rules.closed[rules.classes(decode(previous(last)).code)] == 0) {
    return false;
  }
  const auto size = static_cast<std::size_t>(last - begin);
  const uint8_t kinds = rules.kinds(begin, size, text_end);
  if (((kinds | rules.kinds(begin, size + 1, text_end)) & SpacyRules::kException) != 0) return false;
  add(begin, last, kinds, out);
  add(last, end, rules.kinds(last, 1, text_end), out);
  return true;
}

void SpacyWords::State::add_odd(const char* begin, const char* end, std::vector<Word>& out) {
  const auto size = static_cast<std::size_t>(end - begin);
  ChunkCache::Entry* entry = nullptr;
  uint64_t chunk[ChunkCache::kWords];
  if (size <= ChunkCache::kBytes) {
    entry = &cache.place(begin, size, text_end, chunk);
    if (ChunkCache::holds(*entry, size, chunk)) {
      const char* token = begin;
      for (int i = 0; i < entry->count; ++i) {
        const char* const token_end = begin + entry->ends[i];
        add(token, token_end, static_cast<uint8_t>(entry->kinds >> 4 * i & 15), out);
        token = token_end;
      }
      return;
    }
  }
  ends.clear();
  cutter.cut(begin, end, text_end, ends);
  uint64_t all_kinds = 0;
  const char* token = begin;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const uint8_t kinds = rules.kinds(token, static_cast<std::size_t>(ends[i] - token), text_end);
    if (i < ChunkCache::kTokens) all_kinds |= uint64_t{kinds} << 4 * i;
    add(token, ends[i], kinds, out);
    token = ends[i];
  }
  if (entry == nullptr || ends.size() > ChunkCache::kTokens) return;
  entry->size = static_cast<uint16_t>(size);
  entry->count = static_cast<uint16_t>(ends.size());
  entry->kinds = all_kinds;
  for (std::size_t i = 0; i < ends.size(); ++i) entry->ends[i] = static_cast<uint8_t>(ends[i] - begin);
  std::memcpy(entry->chunk, chunk, (size + 7) / 8 * 8);
}

void SpacyWords::State::find_sequences(const std::vector<Word>& out) {
  found.clear();
  for (const uint32_t opening : openings) {
    uint32_t node = 0;
    for (uint32_t i = opening; i < out.size(); ++i) {
      if (i != opening && !adjacent(out[i - 1], out[i])) break;
      node = rules.follow(node, text.substr(out[i].begin, out[i].end - out[i].begin));
      if (node == 0) break;
      if (rules.nodes[node].ends) found.push_back({opening, i + 1});
    }
  }
}

// spaCy takes the longest sequences first, of those the leftmost, and none whose first or last token another one that
// was looked at before has, even if that one wasn't taken. A sequence taken is cut anew if an exception reads like it.
void SpacyWords::State::apply_sequences(std::vector<Word>& out) {
  // A stretch of sequences that overlap stands alone, so they may be looked at stretch by stretch.
  std::vector<Found> taken;
  std::vector<uint8_t> seen;
  for (std::size_t from = 0; from < found.size();) {
    const uint32_t low = found[from].first;
    uint32_t high = found[from].last;
    std::size_t to = from + 1;
    for (; to < found.size() && found[to].first < high; ++to) high = std::max(high, found[to].last);
    seen.assign(high - low, 0);
    const std::size_t kept = taken.size();
    for (std::size_t length = rules.longest_sequence; length > 0; --length) {
      for (std::size_t i = from; i < to; ++i) {
        const Found& one = found[i];
        if (one.last - one.first != length) continue;
        if (seen[one.first - low] == 0 && seen[one.last - 1 - low] == 0) taken.push_back(one);
        for (uint32_t token = one.first; token < one.last; ++token) seen[token - low] = 1;
      }
    }
    std::sort(taken.begin() + static_cast<std::ptrdiff_t>(kept), taken.end(),
              [](const Found& a, const Found& b) { return a.first < b.first; });
    from = to;
  }
  rewritten.clear();
  std::size_t copied = first;
  for (const Found& one : taken) {
    const uint32_t begin = out[one.first].begin;
    const SpacyException* exception = rules.find(text.substr(begin, out[one.last - 1].end - begin), text_end);
    if (exception == nullptr) continue;
    rewritten.insert(rewritten.end(), out.begin() + static_cast<std::ptrdiff_t>(copied),
                     out.begin() + static_cast<std::ptrdiff_t>(one.first));
    uint32_t token = begin;
    for (const uint8_t token_end : exception->ends) {
      rewritten.push_back({token, begin + token_end});
      token = begin + token_end;
    }
    copied = one.last;
  }
  if (copied == first) return;
  rewritten.insert(rewritten.end(), out.begin() + static_cast<std::ptrdiff_t>(copied), out.end());
  out.resize(first);
  out.insert(out.end(), rewritten.begin(), rewritten.end());
}

std::size_t SpacyWords::count_sentences(std::string_view text) {
  state_->words.clear();
  words(text, state_->words);
  return count_sentences(text, state_->words);
}

// A sentence ends after "." and its like and the punctuation behind it; white space that is a token of its own, which
// is all but one space, begins the next.
std::size_t SpacyWords::count_sentences(std::string_view text, std::span<const Word> words) const {
  const SpacyClasses& classes = state_->rules.classes;
  std::size_t count = words.empty() ? 0 : 1;
  bool closed = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const char* at = text.data() + words[i].begin;
    const char* const end = text.data() + words[i].end;
    if (closed && i != 0) {
      const uint32_t gap = words[i].begin - words[i - 1].end;
      if (gap > 1 || (gap == 1 && at[-1] != ' ')) {
        ++count;
        closed = false;
      }
    }
    const Decoded c = decode(at);
    const bool final = at + c.size == end && (classes.flags[classes(c.code)] & kSpacyFinal) != 0;
    if (final) {
      closed = true;
    } else if (closed) {
      bool punctuation = true;
      while (punctuation && at < end) {
        const Decoded d = decode(at);
        punctuation = (classes.flags[classes(d.code)] & kSpacyPunctuation) != 0;
        at += d.size;
      }
      if (!punctuation) {
        ++count;
        closed = false;
      }
    }
  }
  return count;
}

}  // namespace smolfast::text
