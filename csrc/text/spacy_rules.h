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
    return size > longest ? uint8_t{0} : kinds_of_any(head, size);
  }
  // The same, and of what is longer than any perhaps too much.
  uint8_t kinds_of_any(uint64_t head, std::size_t size) const { return filter_[filter_place(head, size)]; }
  // By its size, first and last byte.
  bool may_be_exception(std::string_view chunk) const {
    const uint32_t sizes = sizes_by_first_[static_cast<unsigned char>(chunk.front())] &
                           sizes_by_last_[static_cast<unsigned char>(chunk.back())];
    return (sizes >> std::min<std::size_t>(chunk.size(), 31) & 1) != 0;
  }
  // Of a chunk that isn't empty.
  const SpacyException* find(std::string_view chunk, const char* text_end) const {
    if (!may_be_exception(chunk)) return nullptr;
    const uint64_t hash = hash_exception(chunk, text_end);
    if ((taken_[hash >> (64 - kTakenBits) >> 6] >> (hash >> (64 - kTakenBits) & 63) & 1) == 0) return nullptr;
    for (std::size_t slot = hash >> slot_shift_; slots_[slot].rule != nullptr;
         slot = (slot + 1) & (slots_.size() - 1)) {
      const Slot& held = slots_[slot];
      if (held.hash == hash && held.rule->first == chunk) return &held.rule->second;
    }
    return nullptr;
  }
  // Whether a sequence may begin with these two tokens, by their first bytes.
  bool may_begin(std::string_view first, std::string_view second) const {
    if (first.size() != 1) return true;
    const auto byte = static_cast<unsigned char>(first.front());
    const auto next = static_cast<unsigned char>(second.front());
    return byte >= 0x80 || (seconds_[byte][next >> 6] >> (next & 63) & 1) != 0;
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
  bool letters_open_infixes = false;  // whether one of those may begin one
  // Whether the byte is a token of its own behind plain letters, which are then left: always, or if the class of the
  // last letter is one of `closed`.
  enum Closing : uint8_t { kNever, kAlways, kAfterSome };
  std::array<Closing, 128> closing{};
  std::vector<uint8_t> closed;
  std::size_t longest = 0;  // bytes of what the filter may know
  using Exceptions = std::unordered_map<std::string_view, SpacyException>;
  Exceptions exceptions;
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
      return load_eight(begin) & kFirstBytes[std::min<std::size_t>(size, 8)];
    }
    char padded[8] = {};
    std::memcpy(padded, begin, std::min<std::size_t>(size, 8));
    return load_eight(padded);
  }

  // Where exceptions are found without a walk through memory: at the first free slot from a hash of their ends on. A
  // bit for more of the hash says before that there is none.
  static constexpr int kTakenBits = 16;
  struct Slot {
    uint64_t hash = 0;
    const Exceptions::value_type* rule = nullptr;
  };
  static uint64_t hash_exception(std::string_view chunk, const char* text_end) {
    const std::size_t size = chunk.size();
    const uint64_t head = head_of(chunk.data(), size, text_end);
    const uint64_t tail = size > 8 ? load_eight(chunk.data() + size - 8) : 0;
    return (head ^ size) * 0x9E3779B97F4A7C15u ^ tail * 0xD6E8FEB86659FD93u;
  }
  void fill_slots();

  // The first tokens of sequences, each at the first free place from its own on; at most half of the places are taken.
  struct Opening {
    std::string_view token;
    uint32_t node = 0;  // 0: free
  };
  std::size_t opening_place(std::string_view token, const char* text_end) const;
  void add_opening(Opening opening);

  std::array<std::array<uint64_t, 4>, 128> seconds_{};  // by a first token of one byte: first bytes of second ones
  std::vector<uint8_t> filter_;
  // Sizes of exceptions that begin and end with each byte, a bit each, the highest for all from 31 on.
  std::array<uint32_t, 256> sizes_by_first_{};
  std::array<uint32_t, 256> sizes_by_last_{};
  std::vector<Slot> slots_;  // at most half are taken
  int slot_shift_ = 0;
  std::vector<uint64_t> taken_;
  std::vector<Opening> openings_ = std::vector<Opening>(64);
  std::size_t opening_count_ = 0;
  std::deque<std::string> owned_;
};

}  // namespace smolfast::text
