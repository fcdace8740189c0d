// One language's rules, ready for use: automata over classes of its own, exceptions by text, and the sequences of
// tokens that make an exception.
#pragma once

#include <cstdint>
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

  static constexpr std::size_t kFilterBits = 14;
  static constexpr uint8_t kException = 1;  // may be an exception
  static constexpr uint8_t kOpening = 2;    // may be the first token of a sequence

  // What a token may be, by its first eight bytes and its size. `end` bounds what may be read.
  uint8_t kinds(const char* begin, std::size_t size, const char* end) const {
    if (size > longest) return 0;
    uint64_t head = 0;
    if (end - begin >= 8) {
      head = load_eight(begin);
      if (size < 8) head &= (uint64_t{1} << (8 * size)) - 1;
    } else {
      char padded[8] = {};
      std::memcpy(padded, begin, std::min<std::size_t>(size, 8));
      head = load_eight(padded);
    }
    return filter[filter_place(head, size)];
  }
  static std::size_t filter_place(uint64_t head, std::size_t size) {
    return (head ^ size) * 0x9E3779B97F4A7C15u >> (64 - kFilterBits);
  }
  const SpacyException* find(std::string_view chunk) const {
    if (chunk.size() > longest) return nullptr;
    const auto found = exceptions.find(chunk);
    return found == exceptions.end() ? nullptr : &found->second;
  }
  // The sequence that goes on from `node` (0: none yet) with this token; 0 if there is none.
  uint32_t follow(uint32_t node, std::string_view token) const;

  std::string_view name;
  SpacyClasses classes;
  Automaton prefix, suffix, infix, whole;
  bool has_whole = false;
  // Letters that no affix begins with, ends with or is found between, of ASCII and of those that plain_letters() marks.
  bool plain_ascii = false;
  bool plain_pairs = false;
  std::size_t longest = 0;  // bytes of an exception
  std::vector<uint8_t> filter;
  std::unordered_map<std::string_view, SpacyException> exceptions;
  // A sequence's nodes: what follows each, and whether a sequence may end there.
  struct Node {
    std::vector<std::pair<std::string, uint32_t>> following;
    bool ends = false;
  };
  std::unordered_map<std::string_view, uint32_t> openings;
  std::vector<Node> nodes;
  std::size_t longest_sequence = 0;

 private:
  void read_classes(const std::vector<const SpacyAutomaton*>& used);
  Automaton expand(const SpacyAutomaton& raw) const;
  bool never_cuts(const std::vector<uint16_t>& letters) const;
  void read_exceptions(std::string_view literal);
  void add_sequence(std::string_view chunk);
  void mark(std::string_view token, uint8_t kind);

  std::deque<std::string> owned_;
};

}  // namespace smolfast::text
