#include "text/spacy_words.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/seeded_hash.h"
#include "text/spaces.h"
#include "text/spacy_cache.h"
#include "text/spacy_chunk.h"
#include "text/spacy_rules.h"
#include "text/spacy_spaces.h"

namespace smolfast::text {
namespace {

// A sequence of tokens found, by the first token and the one past the last.
struct Found {
  uint32_t first;
  uint32_t last;
};

}  // namespace

struct SpacyWords::State {
  State(const SpacyRules& language, MeasureWord measures) : rules(language), measure(measures), cutter(language) {
    for (std::size_t i = 0; i < marks.size(); ++i) {
      const char mark = static_cast<char>(i);
      marks[i] = {static_cast<uint32_t>(hash_short(i, 0, 1, seed)), measure({&mark, 1}), rules.kinds(i, 1)};
    }
  }

  // A byte of ASCII that is a token.
  struct Mark {
    uint32_t hash = 0;
    WordMeasure measure;
    uint8_t kinds = 0;
  };

  const SpacyRules& rules;
  const MeasureWord measure;
  const HashSeed seed = draw_hash_seed();
  std::array<Mark, 128> marks;
  ChunkCutter cutter;
  ShortChunks short_chunks;
  LongChunks long_chunks;
  std::vector<const char*> ends;
  std::vector<uint32_t> openings;  // numbers of tokens that may begin a sequence, and whose next one may go on with it
  std::size_t opening = 0;         // the number after the last token that may begin one
  std::vector<Found> found;
  MeasuredWords rewritten;
  MeasuredWords scratch;

  std::string_view text;
  const char* text_end = nullptr;
  MeasuredWords* tokens = nullptr;

  // Up to 64 bytes, and masks of them: where chunks begin, the places behind them, and what isn't a plain letter.
  struct Block {
    const char* at;
    uint64_t begins;
    uint64_t ends_behind;
    uint64_t odd;
    bool ascii;
  };
  // Words of letters that aren't in the sums yet.
  struct Letters {
    std::size_t words = 0;
    std::size_t characters = 0;
  };

  void scan();
  void add_chunks(const Block& block, Letters& letters);
  void add_chunk(const char* begin, const char* end, uint64_t strange, bool ascii);
  void add_letters(const char* begin, std::size_t size, const ShortChunks::Key& key, uint8_t kinds,
                   std::size_t characters);
  bool add_letters(const char* begin, const char* end);
  bool add_closed(const char* begin, std::size_t size, const ShortChunks::Key& key, bool ascii);
  void add_known(const ShortChunks::Entry& chunk, const char* begin);
  void remember(const char* begin, std::size_t size, std::size_t from, const MeasuredWords::Sums& before,
                const ShortChunks::Key& key, uint64_t hash, uint64_t all_kinds);
  uint64_t add_odd(const char* begin, const char* end, uint64_t strange, bool ascii);
  void add_part(const char* begin, const char* end, uint8_t kinds, bool ascii);
  void add(const char* begin, const char* end, uint8_t kinds);
  void note(std::size_t number, uint8_t kinds);
  void note_part(std::size_t number, uint8_t kinds);
  void find_sequences();
  void apply_sequences();
  std::string_view bytes(const Word& word) const { return text.substr(word.begin, word.end - word.begin); }
  uint32_t hash(const Word& word) const { return static_cast<uint32_t>(hash_bytes(bytes(word), seed)); }
  bool adjacent(const Word& a, const Word& b) const {
    return a.end == b.begin || (a.end + 1 == b.begin && text[a.end] == ' ');
  }
};

SpacyWords::SpacyWords(const SpacyRules& rules, MeasureWord measure)
    : state_(std::make_unique<State>(rules, measure)) {}
SpacyWords::~SpacyWords() = default;
SpacyWords::SpacyWords(SpacyWords&&) noexcept = default;
SpacyWords& SpacyWords::operator=(SpacyWords&&) noexcept = default;

void SpacyWords::words(std::string_view text, std::vector<Word>& out) {
  words(text, state_->scratch);
  out.insert(out.end(), state_->scratch.words().begin(), state_->scratch.words().end());
}

void SpacyWords::words(std::string_view text, MeasuredWords& out) {
  State& state = *state_;
  state.tokens = &out;
  state.text = text;
  state.text_end = text.data() + text.size();
  state.opening = 0;
  state.openings.clear();
  out.clear();
  state.scan();
  if (!state.openings.empty()) {
    state.find_sequences();
    if (!state.found.empty()) state.apply_sequences();
  }
}

// Chunks are cut out of 64 bytes at a time; the next 64 begin with the chunk that these cut.
void SpacyWords::State::scan() {
  const ClassifyChunks classify = choose_chunk_classes();
  Letters letters;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    const auto left = static_cast<std::size_t>(end - at);
    const ChunkClasses classes = classify(at, left);
    const bool plain = classes.above == 0 ? rules.plain_ascii : rules.plain_pairs;
    const uint64_t odd = plain ? classes.odd : ~uint64_t{0};
    const uint64_t inside = ~classes.spaces;
    uint64_t begins = inside & ~(inside << 1);
    uint64_t ends_behind = ~inside & inside << 1;
    const char* next = at + std::min<std::size_t>(left, 64);
    while (next < end && is_continuation(*next)) ++next;  // the rest of a space
    if (left > 64 && inside >> 63 != 0) {
      const int last = 63 - std::countl_zero(begins);
      if (last != 0) {
        next = at + last;
        begins ^= uint64_t{1} << last;
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
        add_odd(at, tail, ~uint64_t{0}, false);
        at = tail;
        continue;
      }
    }
    tokens->room(64 + ShortChunks::kTokens);
    add_chunks({at, begins, ends_behind, odd, classes.above == 0}, letters);
    at = next;
  }
  tokens->sums.solid += letters.words;
  tokens->sums.lettered += letters.words;
  tokens->sums.solid_characters += letters.characters;
}

// Most chunks are words of letters; what is needed for them stays in registers.
inline void SpacyWords::State::add_chunks(const Block& block, Letters& letters) {
  const bool readable = text_end - block.at >= static_cast<std::ptrdiff_t>(64 + ShortChunks::kBytes);
  std::size_t number = tokens->size();
  std::size_t may_follow = opening;
  Word* word = tokens->next_word();
  uint32_t* hash = tokens->next_hash();
  const auto base = static_cast<uint32_t>(block.at - text.data());
  uint64_t ends_behind = block.ends_behind;
  for (uint64_t begins = block.begins; begins != 0; begins &= begins - 1, ends_behind &= ends_behind - 1) {
    const int begin = std::countr_zero(begins);
    const int stop = std::countr_zero(ends_behind);
    const uint64_t below = stop == 64 ? ~uint64_t{0} : (uint64_t{1} << stop) - 1;
    const uint64_t strange = (block.odd & below) >> begin;
    const auto size = static_cast<std::size_t>(stop - begin);
    if (strange == 0 && size <= ShortChunks::kBytes && readable) [[likely]] {
      const ShortChunks::Key key = ShortChunks::readable_key(block.at + begin, size);
      const uint8_t kinds = rules.kinds_of_any(key.low, size);
      const bool follows = (kinds & SpacyRules::kSecond) != 0 && may_follow == number;
      if ((kinds & (SpacyRules::kException | SpacyRules::kAlone)) == 0 && !follows) [[likely]] {
        *word++ = {base + static_cast<uint32_t>(begin), base + static_cast<uint32_t>(stop)};
        *hash++ = static_cast<uint32_t>(hash_short(key.low, key.high, size, seed));
        ++number;
        may_follow = (kinds & SpacyRules::kOpening) != 0 ? number : may_follow;
        ++letters.words;
        letters.characters += block.ascii ? size : key.characters(size);
        continue;
      }
    }
    tokens->commit(number - tokens->size());
    opening = may_follow;
    add_chunk(block.at + begin, block.at + stop, strange, block.ascii);
    number = tokens->size();
    may_follow = opening;
    word = tokens->next_word();
    hash = tokens->next_hash();
  }
  tokens->commit(number - tokens->size());
  opening = may_follow;
}

// `strange` says which bytes of the chunk aren't plain letters; all are of ASCII if `ascii` is true. There is room for
// its tokens.
void SpacyWords::State::add_chunk(const char* begin, const char* end, uint64_t strange, bool ascii) {
  const auto size = static_cast<std::size_t>(end - begin);
  if (size == 1 && static_cast<unsigned char>(*begin) < 0x80) {
    add(begin, end, marks[static_cast<unsigned char>(*begin)].kinds);
    return;
  }
  if (size > ShortChunks::kBytes) {
    if (strange != 0 || !add_letters(begin, end)) add_odd(begin, end, strange, ascii);
    return;
  }
  const ShortChunks::Key key = ShortChunks::key(begin, size, text_end);
  if (strange == 0) {
    const uint8_t kinds = rules.kinds(key.low, size);
    if ((kinds & SpacyRules::kException) == 0) [[likely]] {
      add_letters(begin, size, key, kinds, ascii ? size : key.characters(size));
      return;
    }
  } else if (strange == uint64_t{1} << (size - 1) && size > 1 && add_closed(begin, size, key, ascii)) {
    return;
  }
  const uint64_t hash = ShortChunks::hash(key);
  if (const ShortChunks::Entry* const entry = short_chunks.find(hash, key, size)) [[likely]] {
    add_known(*entry, begin);
  } else {
    const std::size_t from = tokens->size();
    const MeasuredWords::Sums before = tokens->sums;
    const uint64_t all_kinds = add_odd(begin, end, strange, ascii);
    remember(begin, size, from, before, key, hash, all_kinds);
  }
}

// A token of letters.
inline void SpacyWords::State::add_letters(const char* begin, std::size_t size, const ShortChunks::Key& key,
                                           uint8_t kinds, std::size_t characters) {
  const auto base = static_cast<uint32_t>(begin - text.data());
  *tokens->next_word() = {base, base + static_cast<uint32_t>(size)};
  *tokens->next_hash() = static_cast<uint32_t>(hash_short(key.low, key.high, size, seed));
  tokens->commit(1);
  ++tokens->sums.solid;
  ++tokens->sums.lettered;
  tokens->sums.solid_characters += characters;
  note(tokens->size() - 1, kinds);
}

// A longer one; false if it's an exception.
inline bool SpacyWords::State::add_letters(const char* begin, const char* end) {
  const uint8_t kinds = rules.kinds(begin, static_cast<std::size_t>(end - begin), text_end);
  if ((kinds & SpacyRules::kException) != 0) return false;
  add(begin, end, kinds);
  return true;
}

// Letters and one byte behind them that is a suffix; false if it isn't so simple.
inline bool SpacyWords::State::add_closed(const char* begin, std::size_t size, const ShortChunks::Key& key,
                                          bool ascii) {
  const char* const last = begin + size - 1;
  const auto byte = static_cast<unsigned char>(*last);
  if (byte >= 0x80 || rules.closing[byte] == SpacyRules::kNever) return false;
  if (rules.closing[byte] == SpacyRules::kAfterSome && rules.closed[rules.classes(decode(previous(last)).code)] == 0) {
    return false;
  }
  const ShortChunks::Key word = key.first(size - 1);
  const uint8_t kinds = rules.kinds(word.low, size - 1);
  if (((kinds | rules.kinds(key.low, size)) & SpacyRules::kException) != 0) return false;
  add_letters(begin, size - 1, word, kinds, ascii ? size - 1 : word.characters(size - 1));
  const Mark& mark = marks[byte];
  const auto at = static_cast<uint32_t>(last - text.data());
  tokens->append({at, at + 1}, mark.hash, mark.measure);
  note(tokens->size() - 1, mark.kinds);
  return true;
}

// There is room for as many tokens as an entry has.
inline void SpacyWords::State::add_known(const ShortChunks::Entry& chunk, const char* begin) {
  const auto base = static_cast<uint32_t>(begin - text.data());
  const std::size_t number = tokens->size();
  Word* const words = tokens->next_word();
  for (std::size_t i = 0; i < ShortChunks::kTokens; ++i) {
    words[i] = {base + chunk.edges[2 * i], base + chunk.edges[2 * i + 1]};
  }
  std::memcpy(tokens->next_hash(), chunk.hashes, sizeof(chunk.hashes));
  tokens->commit(chunk.tokens);
  tokens->sums.solid += chunk.solid;
  tokens->sums.solid_characters += chunk.solid_characters;
  tokens->sums.lettered += chunk.lettered;
  if (chunk.flags != 0 && ((chunk.flags & ShortChunks::kWithin) != 0 || opening == number)) [[unlikely]] {
    for (std::size_t i = 0; i < chunk.tokens; ++i) note(number + i, static_cast<uint8_t>(chunk.kinds >> 4 * i & 15));
  } else {
    opening = chunk.opening != 0 ? number + chunk.opening : opening;
  }
}

// Keeps how the chunk was cut: into the tokens from `from` on, of these kinds, `before` which the sums were these.
void SpacyWords::State::remember(const char* begin, std::size_t size, std::size_t from,
                                 const MeasuredWords::Sums& before, const ShortChunks::Key& key, uint64_t place,
                                 uint64_t all_kinds) {
  const std::size_t count = tokens->size() - from;
  if (count > ShortChunks::kTokens) return;
  ShortChunks::Entry& entry = short_chunks.renew(place);
  entry.low = key.low;
  entry.high = key.high;
  entry.size = static_cast<uint8_t>(size);
  entry.tokens = static_cast<uint8_t>(count);
  const auto base = static_cast<uint32_t>(begin - text.data());
  entry.kinds = static_cast<uint16_t>(all_kinds);
  uint8_t last = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const Word token = (*tokens)[from + i];
    entry.edges[2 * i] = static_cast<uint16_t>(token.begin - base);
    entry.edges[2 * i + 1] = static_cast<uint16_t>(token.end - base);
    entry.hashes[i] = tokens->hashes()[from + i];
    const auto kinds = static_cast<uint8_t>(all_kinds >> 4 * i & 15);
    if (i == 0 && (kinds & SpacyRules::kSecond) != 0) entry.flags |= ShortChunks::kSecondFirst;
    if ((kinds & SpacyRules::kAlone) != 0) entry.flags |= ShortChunks::kWithin;
    if ((last & SpacyRules::kOpening) != 0 && (kinds & SpacyRules::kSecond) != 0 &&
        rules.may_begin(bytes((*tokens)[from + i - 1]), bytes(token))) {
      entry.flags |= ShortChunks::kWithin;
    }
    if ((kinds & SpacyRules::kOpening) != 0) entry.opening = static_cast<uint8_t>(i + 1);
    last = kinds;
  }
  const MeasuredWords::Sums& after = tokens->sums;
  entry.solid = static_cast<uint8_t>(after.solid - before.solid);
  entry.solid_characters = static_cast<uint8_t>(after.solid_characters - before.solid_characters);
  entry.lettered = static_cast<uint8_t>(after.lettered - before.lettered);
}

// A token of a chunk, all of ASCII if `ascii` is true. One that begins with a letter isn't measured.
inline void SpacyWords::State::add_part(const char* begin, const char* end, uint8_t kinds, bool ascii) {
  const auto size = static_cast<std::size_t>(end - begin);
  const auto byte = static_cast<unsigned char>(*begin);
  if (size <= ShortChunks::kBytes && static_cast<unsigned char>((byte | 0x20) - 'a') < 26) {
    const ShortChunks::Key key = ShortChunks::key(begin, size, text_end);
    tokens->room(1);
    add_letters(begin, size, key, kinds, ascii ? size : key.characters(size));
  } else {
    add(begin, end, kinds);
  }
}

inline void SpacyWords::State::add(const char* begin, const char* end, uint8_t kinds) {
  const Word word = {static_cast<uint32_t>(begin - text.data()), static_cast<uint32_t>(end - text.data())};
  const auto byte = static_cast<unsigned char>(*begin);
  if (end - begin == 1 && byte < 0x80) {
    tokens->append(word, marks[byte].hash, marks[byte].measure);
  } else {
    tokens->append(word, hash(word), measure(bytes(word)));
  }
  note(tokens->size() - 1, kinds);
}

// Takes note of a token that may be part of a sequence. (Many may begin one, few go on with one.)
inline void SpacyWords::State::note(std::size_t number, uint8_t kinds) {
  const bool follows = static_cast<unsigned>((kinds & SpacyRules::kSecond) != 0) & (opening == number);
  if (static_cast<unsigned>(follows) | ((kinds & SpacyRules::kAlone) != 0)) [[unlikely]]
    note_part(number, kinds);
  opening = (kinds & SpacyRules::kOpening) != 0 ? number + 1 : opening;
}

void SpacyWords::State::note_part(std::size_t number, uint8_t kinds) {
  const bool follows = (kinds & SpacyRules::kSecond) != 0 && opening == number && number > 0;
  if (follows && adjacent((*tokens)[number - 1], (*tokens)[number]) &&
      rules.may_begin(bytes((*tokens)[number - 1]), bytes((*tokens)[number])) &&
      (openings.empty() || openings.back() != number - 1)) {
    openings.push_back(static_cast<uint32_t>(number - 1));
  }
  if ((kinds & SpacyRules::kAlone) != 0) openings.push_back(static_cast<uint32_t>(number));
}

// Gives the kinds of its first tokens, four bits each.
uint64_t SpacyWords::State::add_odd(const char* begin, const char* end, uint64_t strange, bool ascii) {
  const auto size = static_cast<std::size_t>(end - begin);
  const bool kept = size <= LongChunks::kBytes && size > ShortChunks::kBytes;
  uint64_t place = 0;
  uint64_t chunk[LongChunks::kWords];
  if (kept) {
    place = LongChunks::hash(begin, size, text_end, chunk);
    if (const LongChunks::Entry* const entry = long_chunks.find(place, size, chunk)) {
      const char* token = begin;
      for (int i = 0; i < entry->count; ++i) {
        const char* const token_end = begin + entry->ends[i];
        add_part(token, token_end, static_cast<uint8_t>(entry->kinds >> 4 * i & 15), ascii);
        token = token_end;
      }
      return entry->kinds;
    }
  }
  ends.clear();
  cutter.cut(begin, end, strange, text_end, ends);
  uint64_t all_kinds = 0;
  const char* token = begin;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const uint8_t kinds = rules.kinds(token, static_cast<std::size_t>(ends[i] - token), text_end);
    if (i < LongChunks::kTokens) all_kinds |= uint64_t{kinds} << 4 * i;
    add_part(token, ends[i], kinds, ascii);
    token = ends[i];
  }
  if (!kept || ends.size() > LongChunks::kTokens) return all_kinds;
  LongChunks::Entry& entry = long_chunks.renew(place);
  entry.size = static_cast<uint16_t>(size);
  entry.count = static_cast<uint16_t>(ends.size());
  entry.kinds = all_kinds;
  for (std::size_t i = 0; i < ends.size(); ++i) entry.ends[i] = static_cast<uint8_t>(ends[i] - begin);
  std::memcpy(entry.chunk, chunk, (size + 7) / 8 * 8);
  return all_kinds;
}

void SpacyWords::State::find_sequences() {
  found.clear();
  for (const uint32_t first : openings) {
    uint32_t node = 0;
    for (uint32_t i = first; i < tokens->size(); ++i) {
      if (i != first && !adjacent((*tokens)[i - 1], (*tokens)[i])) break;
      node = rules.follow(node, bytes((*tokens)[i]), text_end);
      if (node == 0) break;
      if (rules.nodes[node].ends) found.push_back({first, i + 1});
    }
  }
}

// spaCy takes the longest sequences first, of those the leftmost, and none whose first or last token another one that
// was looked at before has, even if that one wasn't taken. A sequence taken is cut anew if an exception reads like it.
void SpacyWords::State::apply_sequences() {
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
  std::size_t copied = 0;
  const auto copy = [&](std::size_t to) {
    rewritten.room(to - copied);
    std::copy_n(tokens->words().begin() + static_cast<std::ptrdiff_t>(copied), to - copied, rewritten.next_word());
    std::copy_n(tokens->hashes().begin() + static_cast<std::ptrdiff_t>(copied), to - copied, rewritten.next_hash());
    rewritten.commit(to - copied);
  };
  rewritten.sums = tokens->sums;
  for (const Found& one : taken) {
    const uint32_t begin = (*tokens)[one.first].begin;
    const SpacyException* exception = rules.find(text.substr(begin, (*tokens)[one.last - 1].end - begin), text_end);
    if (exception == nullptr) continue;
    copy(one.first);
    for (uint32_t i = one.first; i < one.last; ++i) rewritten.sums.subtract(measure(bytes((*tokens)[i])));
    uint32_t token = begin;
    for (const uint8_t token_end : exception->ends) {
      const Word word = {token, begin + token_end};
      rewritten.append(word, hash(word), measure(bytes(word)));
      token = begin + token_end;
    }
    copied = one.last;
  }
  if (copied == 0) return;
  copy(tokens->size());
  std::swap(*tokens, rewritten);
}

std::size_t SpacyWords::count_sentences(std::string_view text) {
  words(text, state_->scratch);
  return count_sentences(text, state_->scratch.words());
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
