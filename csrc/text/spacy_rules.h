// One language's rules, ready for use: automata over classes of its own, exceptions by text, and the sequences of
// tokens that make an exception.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/bytes.h"
#include "text/spacy_automaton.h"

namespace smolfast::text {

// A chunk that is cut as its rule says, whatever the affixes.
struct SpacyException {
  std::vector<uint8_t> ends;  // of its tokens, in bytes; the last is its size
};

struct SpacyRules {
  explicit SpacyRules(const SpacyLanguage& language);

  // What a token may be; those that share its first eight bytes and its size are not told apart.
  static constexpr uint8_t kException = 1;  // an exception
  static constexpr uint8_t kOpening = 2;    // the first token of a sequence
  static constexpr uint8_t kSecond = 4;     // the second one
  static constexpr uint8_t kAlone = 8;      // a sequence by itself
  uint8_t kinds(const char* begin, std::size_t size, const char* text_end) const {
    if (size > longest) return 0;
    return filter_[filter_place(head_of(begin, size, text_end), size)];
  }
  // The same by the first eight bytes, zeros behind the token.
  uint8_t kinds(uint64_t head, std::size_t size) const {
    return size > longest ? uint8_t{0} : filter_[filter_place(head, size)];
  }
  const SpacyException* find(std::string_view chunk, const char* text_end) const {
    if ((kinds(chunk.data(), chunk.size(), text_end) & kException) == 0) return nullptr;
    const auto found = exceptions.find(chunk);
    return found == exceptions.end() ? nullptr : &found->second;
  }
  // The sequence that goes on from `node` (0: none yet) with this token; 0 if there is none.
  uint32_t follow(uint32_t node, std::string_view token, const char* text_end) const;

  std::string_view name;
  SpacyClasses classes;
  Automaton prefix, suffix, infix, infix_again, whole;
  bool has_whole = false;
  // Whether a chunk of letters is one token, exceptions aside: of ASCII's, and of all that ChunkClasses calls plain.
  bool plain_ascii = false;
  bool plain_pairs = false;
  // Whether the byte is a token of its own behind plain letters, which are then left: always, or if the class of the
  // last letter is one of `closed`.
  enum Closing : uint8_t { kNever, kAlways, kAfterSome };
  std::array<Closing, 128> closing{};
  std::vector<uint8_t> closed;
  std::size_t longest = 0;  // bytes of what the filter may know
  std::unordered_map<std::string_view, SpacyException> exceptions;
  // A sequence's nodes: what follows each, and whether a sequence may end there.
  struct Node {
    std::vector<std::pair<std::string, uint32_t>> following;
    bool ends = false;
  };
  std::vector<Node> nodes;
  std::size_t longest_sequence = 0;

 private:
  void read_classes(const std::vector<const SpacyAutomaton*>& used);
  Automaton expand(const SpacyAutomaton& raw) const;
  bool never_cuts(const std::vector<uint16_t>& letters) const;
  void find_closing(const std::vector<uint16_t>& letters);
  void read_exceptions(std::string_view literal);
  void add_sequence(std::string_view chunk);
  void mark(std::string_view token, uint8_t kind);

  static constexpr int kFilterBits = 14;
  static std::size_t filter_place(uint64_t head, std::size_t size) {
    return (head ^ size) * 0x9E3779B97F4A7C15u >> (64 - kFilterBits);
  }
  static uint64_t head_of(const char* begin, std::size_t size, const char* text_end) {
    if (text_end - begin >= 8) {
      const uint64_t head = load_eight(begin);
      return size < 8 ? head & ((uint64_t{1} << (8 * size)) - 1) : head;
    }
    char padded[8] = {};
    std::memcpy(padded, begin, std::min<std::size_t>(size, 8));
    return load_eight(padded);
  }

  // The first tokens of sequences, each at the first free place from its own on; at most half of the places are taken.
  struct Opening {
    std::string_view token;
    uint32_t node = 0;  // 0: free
  };
  std::size_t opening_place(std::string_view token, const char* text_end) const;
  void add_opening(Opening opening);

  std::vector<uint8_t> filter_;
  std::vector<Opening> openings_ = std::vector<Opening>(64);
  std::size_t opening_count_ = 0;
  std::deque<std::string> owned_;
};

}  // namespace smolfast::text
