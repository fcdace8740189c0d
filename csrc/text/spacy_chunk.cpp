#include "text/spacy_chunk.h"

#include <bit>

#include "text/spacy_url.h"

namespace smolfast::text {

void ChunkCutter::begin_chunk(const char* begin, const char* end, uint64_t strange) {
  chunk_ = begin;
  strange_ = rules_.letters_open_infixes ? ~uint64_t{0} : strange;
  is_long_ = end - begin > kLong;
  if (is_long_) prefixes_ = suffixes_ = infixes_ = infixes_again_ = wholes_ = WalkMemory{};
}

template <bool kAny>
inline const char* ChunkCutter::forward(const Automaton& automaton, uint32_t state, const char* begin, const char* end,
                                        WalkMemory& memory) {
  return is_long_ ? walk_forward<kAny>(automaton, rules_.classes, state, begin, end, memory)
                  : walk_forward<kAny>(automaton, rules_.classes, state, begin, end);
}

inline const char* ChunkCutter::backward(const Automaton& automaton, const char* begin, const char* end,
                                         WalkMemory& memory) {
  return is_long_ ? walk_backward(automaton, rules_.classes, begin, end, memory)
                  : walk_backward(automaton, rules_.classes, begin, end);
}

inline const SpacyException* ChunkCutter::exception(const char* begin, const char* end) const {
  if (text_end_ == nullptr) return nullptr;
  return rules_.find({begin, static_cast<std::size_t>(end - begin)}, text_end_);
}

inline bool ChunkCutter::is_whole(const char* begin, const char* end) {
  return rules_.has_whole && forward<true>(rules_.whole, 1, begin, end, wholes_) != nullptr;
}

void ChunkCutter::cut(const char* begin, const char* end, uint64_t strange, const char* text_end,
                      std::vector<const char*>& ends) {
  text_end_ = text_end;
  begin_chunk(begin, end, strange);
  suffix_ends_.clear();
  const SpacyException* rule = nullptr;
  bool whole = false;
  while (begin < end) {
    whole = is_whole(begin, end);
    rule = whole ? nullptr : exception(begin, end);
    if (whole || rule != nullptr) break;
    const char* inner = opens(rules_.prefix, begin) ? forward<false>(rules_.prefix, 1, begin, end, prefixes_) : nullptr;
    if (inner == nullptr) inner = begin;
    if (inner != begin && inner != end && (rule = exception(inner, end)) != nullptr) {
      ends.push_back(inner);
      begin = inner;
      break;
    }
    const bool may_close = inner != end && opens(rules_.suffix, previous(end));
    const char* const suffix = may_close ? backward(rules_.suffix, inner, end, suffixes_) : end;
    if (suffix != end && suffix != begin && (rule = exception(begin, suffix)) != nullptr) {
      suffix_ends_.push_back(end);
      end = suffix;
      break;
    }
    if (inner == begin && suffix == end) break;
    if (inner != begin) ends.push_back(inner);
    if (suffix != end) suffix_ends_.push_back(end);
    begin = inner;
    end = suffix;
  }
  if (begin < end) {
    if (whole) rule = exception(begin, end);
    if (rule != nullptr) {
      for (const uint8_t token_end : rule->ends) ends.push_back(begin + token_end);
    } else if (whole || is_spacy_url(rules_.classes, begin, end)) {
      ends.push_back(end);
    } else {
      cut_infixes(begin, end, ends);
    }
  }
  for (auto it = suffix_ends_.rbegin(); it != suffix_ends_.rend(); ++it) ends.push_back(*it);
}

// The end of the first infix from `at` on, which moves to its begin; nullptr if there is none. After an empty one, as
// Python's finditer has it, only another that isn't may begin at the same place.
const char* ChunkCutter::next_infix(const char* begin, const char* end, bool after_empty, const char*& at) {
  for (; at < end; at += decode(at).size, after_empty = false) {
    if (!is_long_) {
      // Plain letters open none.
      const uint64_t rest = strange_ >> (at - chunk_);
      if (rest == 0) return nullptr;
      if ((rest & 1) == 0) {
        at += std::countr_zero(rest);
        after_empty = false;
        if (at >= end) return nullptr;
      }
    }
    const Automaton& infix = after_empty ? rules_.infix_again : rules_.infix;
    if (!opens(infix, at)) continue;
    // What stands before, the farthest first.
    const char* before[kSpacyMaxContext + 1];
    before[0] = at;
    for (uint32_t i = 0; i < infix.context; ++i) before[i + 1] = before[i] == begin ? begin : previous(before[i]);
    uint32_t state = 1;
    for (uint32_t i = infix.context; i > 0; --i) {
      const bool outside = before[i] == before[i - 1];
      state = infix.step(state, outside ? rules_.classes.before() : rules_.classes(decode(before[i]).code));
    }
    if (state == 0) continue;
    WalkMemory& memory = after_empty ? infixes_again_ : infixes_;
    const char* const match = forward<false>(infix, state, at, end, memory);
    if (match != nullptr) return match;
  }
  return nullptr;
}

void ChunkCutter::cut_infixes(const char* begin, const char* end, std::vector<const char*>& ends) {
  const char* token = begin;
  const char* at = begin;
  bool after_empty = false;
  while (const char* const match = next_infix(begin, end, after_empty, at)) {
    after_empty = match == at;
    // One at the begin stays with what follows it.
    if (at != begin) {
      if (at != token) ends.push_back(at);
      if (match != at) ends.push_back(match);
      token = match;
    }
    at = match;
  }
  if (token != end) ends.push_back(end);
}

bool ChunkCutter::has_affixes(std::string_view chunk) {
  const char* const begin = chunk.data();
  const char* const end = begin + chunk.size();
  begin_chunk(begin, end, ~uint64_t{0});
  const char* at = begin;
  return forward<false>(rules_.prefix, 1, begin, end, prefixes_) != nullptr ||
         backward(rules_.suffix, begin, end, suffixes_) != end || next_infix(begin, end, false, at) != nullptr;
}

}  // namespace smolfast::text
