// Running an automaton over a stretch of text, from a place on or back from its end.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "text/spacy_tables.h"
#include "text/utf8.h"

namespace smolfast::text {

// Numbers the classes of characters that one language's automata tell apart.
class SpacyClasses {
 public:
  uint32_t count = 0;
  std::vector<uint16_t> near;     // by code point, below U+10000
  std::vector<SpacyStretch> far;  // from U+10000 on
  std::vector<uint8_t> flags;     // by class
  std::vector<uint16_t> members;  // by class: one of the tables' classes in it
  uint32_t before() const { return count; }
  uint32_t after() const { return count + 1; }

  uint32_t operator()(uint32_t code) const {
    if (code < 0x10000) return near[code];
    const auto next = std::upper_bound(far.begin(), far.end(), code,
                                       [](uint32_t c, const SpacyStretch& stretch) { return c < stretch.first; });
    return std::prev(next)->number;
  }
};

struct Automaton {
  uint32_t width = 0;  // classes, begin and end
  uint32_t context = 0;
  std::vector<uint16_t> next;    // [state][class]
  std::vector<int8_t> accept;    // by state
  std::vector<uint8_t> opening;  // by class: whether a match may begin with it

  uint32_t step(uint32_t state, uint32_t symbol) const { return next[state * width + symbol]; }
};

// Where walks of an automaton over one chunk went, so that a walk from nearby needn't go there again: without it a text
// could be made that takes time with its length squared.
struct WalkMemory {
  const char* from = nullptr;  // where it began
  const char* dead = nullptr;  // where it could go no further, short of the stretch's end
  const char* match = nullptr;

  // Stretches all through which it stayed in one state, the latest of each state.
  struct Stay {
    uint32_t state = 0;
    const char* low = nullptr;
    const char* high = nullptr;
  };
  static constexpr std::ptrdiff_t kWorthwhile = 16;
  static constexpr std::size_t kStays = 4;
  std::array<Stay, kStays> stays;
  std::size_t next = 0;

  void keep(uint32_t state, const char* low, const char* high) {
    if (high - low < kWorthwhile) return;
    for (Stay& stay : stays) {
      if (stay.state == state) {
        stay = {state, low, high};
        return;
      }
    }
    stays[next++ % kStays] = {state, low, high};
  }
  // Where one can go at once from `at`, forward or back; `at` if nowhere.
  const char* ahead(uint32_t state, const char* at) const {
    for (const Stay& stay : stays) {
      if (stay.state == state && at >= stay.low && at < stay.high) return stay.high;
    }
    return at;
  }
  const char* behind(uint32_t state, const char* at) const {
    for (const Stay& stay : stays) {
      if (stay.state == state && at <= stay.high && at > stay.low) return stay.low;
    }
    return at;
  }
};

// Ends of a match's symbols, those of the last two steps kept since an automaton may read on beyond a match.
template <bool kAny>
const char* walk_forward(const Automaton& automaton, const SpacyClasses& classes, uint32_t state, const char* at,
                         const char* end, WalkMemory& memory) {
  const char* const from = at;
  if (state == 1 && memory.from == from && memory.dead != nullptr && memory.dead < end) return memory.match;
  const char* match = nullptr;
  const bool whole = state == 1;
  const char* stay = at;
  const char* dead = nullptr;
  for (;;) {
    if (at == end) {
      memory.keep(state, stay, at);
      state = automaton.step(state, classes.after());
      if (automaton.accept[state] >= 0) match = end;
      break;
    }
    if (memory.next != 0 && memory.ahead(state, at) != at) {
      at = std::min(memory.ahead(state, at), end);
      const int8_t beyond = automaton.accept[state];
      if (beyond >= 0) match = beyond == 0 ? at : previous(at);
      if (kAny && match != nullptr) break;
      continue;
    }
    const char* const last = at;
    const Decoded c = decode(at);
    at += c.size;
    const uint32_t next = automaton.step(state, classes(c.code));
    if (next != state) {
      memory.keep(state, stay, last);
      if (next == 0) {
        dead = last;
        break;
      }
      state = next;
      stay = at;
    }
    const int8_t beyond = automaton.accept[state];
    if (beyond >= 0) {
      match = beyond == 0 ? at : last;
      if (kAny) break;
    }
  }
  if (whole) {
    memory.from = from;
    memory.dead = dead;
    memory.match = match;
  }
  return match;
}

// The same where the stretch is so short that no memory is needed.
template <bool kAny>
const char* walk_forward(const Automaton& automaton, const SpacyClasses& classes, uint32_t state, const char* at,
                         const char* end) {
  const char* match = nullptr;
  while (at < end) {
    const char* const last = at;
    const Decoded c = decode(at);
    at += c.size;
    state = automaton.step(state, classes(c.code));
    if (state == 0) return match;
    const int8_t beyond = automaton.accept[state];
    if (beyond >= 0) {
      match = beyond == 0 ? at : last;
      if (kAny) return match;
    }
  }
  return automaton.accept[automaton.step(state, classes.after())] >= 0 ? end : match;
}

// Where the longest match that ends at `end` begins, or `end`.
inline const char* walk_backward(const Automaton& automaton, const SpacyClasses& classes, const char* begin,
                                 const char* end, WalkMemory& memory) {
  if (memory.from == end && memory.dead != nullptr && memory.dead > begin) return memory.match;
  const char* match = end;
  uint32_t state = 1;
  const char* at = end;
  const char* stay = end;
  const char* dead = nullptr;
  const char* passed[3] = {end, end, end};  // where the last steps began, the latest first
  const auto take = [&](int8_t beyond) {
    if (beyond >= 0) match = std::min(match, passed[beyond]);
  };
  for (;;) {
    if (at == begin) {
      memory.keep(state, at, stay);
      state = automaton.step(state, classes.before());
      passed[2] = passed[1];
      passed[1] = passed[0];
      take(automaton.accept[state]);
      break;
    }
    if (memory.next != 0 && memory.behind(state, at) != at) {
      const char* const high = at;
      at = std::max(memory.behind(state, at), begin);
      passed[0] = at;
      for (int i = 1; i < 3; ++i) {
        passed[i] = passed[i - 1];
        if (passed[i] < high) {
          const char* after = passed[i] + 1;
          while (after < high && is_continuation(*after)) ++after;
          passed[i] = after;
        }
      }
      take(automaton.accept[state]);
      continue;
    }
    const char* const last = at;
    at = previous(at);
    const uint32_t next = automaton.step(state, classes(decode(at).code));
    if (next != state) {
      memory.keep(state, last, stay);
      if (next == 0) {
        dead = last;
        break;
      }
      state = next;
      stay = at;
    }
    passed[2] = passed[1];
    passed[1] = passed[0];
    passed[0] = at;
    take(automaton.accept[state]);
  }
  memory.from = end;
  memory.dead = dead;
  memory.match = match;
  return match;
}

// The same where the stretch is so short that no memory is needed.
inline const char* walk_backward(const Automaton& automaton, const SpacyClasses& classes, const char* begin,
                                 const char* end) {
  const char* match = end;
  uint32_t state = 1;
  const char* passed[3] = {end, end, end};
  const auto take = [&](int8_t beyond) {
    if (beyond >= 0) match = std::min(match, passed[beyond]);
  };
  for (const char* at = end; at > begin;) {
    at = previous(at);
    state = automaton.step(state, classes(decode(at).code));
    if (state == 0) return match;
    passed[2] = passed[1];
    passed[1] = passed[0];
    passed[0] = at;
    take(automaton.accept[state]);
  }
  state = automaton.step(state, classes.before());
  passed[2] = passed[1];
  passed[1] = passed[0];
  take(automaton.accept[state]);
  return match;
}

}  // namespace smolfast::text
