// The tokens of one chunk, which is what stands between white space: spaCy's loop that takes prefixes and suffixes off
// until an exception, a URL or nothing else is left, which is then cut at its infixes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/spacy_rules.h"

namespace smolfast::text {

class ChunkCutter {
 public:
  explicit ChunkCutter(const SpacyRules& rules) : rules_(rules) {}

  // Appends the ends of the chunk's tokens; each begins where the last one ends. The text may be read up to its end; if
  // that is nullptr, exceptions are left out. `strange` says which of up to 64 bytes aren't plain letters.
  void cut(const char* begin, const char* end, uint64_t strange, const char* text_end, std::vector<const char*>& ends);
  void cut(const char* begin, const char* end, const char* text_end, std::vector<const char*>& ends) {
    cut(begin, end, ~uint64_t{0}, text_end, ends);
  }
  // Whether an affix is found in it, be it anywhere between.
  bool has_affixes(std::string_view chunk);

 private:
  // Bytes of a chunk of which walks aren't remembered.
  static constexpr std::ptrdiff_t kLong = 64;

  void begin_chunk(const char* begin, const char* end, uint64_t strange);
  // Whether a match may begin with the character at `at`.
  bool opens(const Automaton& automaton, const char* at) const {
    return automaton.opening[rules_.classes(decode(at).code)] != 0;
  }
  template <bool kAny>
  const char* forward(const Automaton& automaton, uint32_t state, const char* begin, const char* end,
                      WalkMemory& memory);
  const char* backward(const Automaton& automaton, const char* begin, const char* end, WalkMemory& memory);
  const char* next_infix(const char* begin, const char* end, bool after_empty, const char*& at);
  const SpacyException* exception(const char* begin, const char* end) const;
  bool is_whole(const char* begin, const char* end);
  void cut_infixes(const char* begin, const char* end, std::vector<const char*>& ends);

  const SpacyRules& rules_;
  bool is_long_ = false;
  const char* chunk_ = nullptr;
  uint64_t strange_ = 0;
  const char* text_end_ = nullptr;
  WalkMemory prefixes_, suffixes_, infixes_, infixes_again_, wholes_;
  std::vector<const char*> suffix_ends_;
};

}  // namespace smolfast::text
