#include "text/spacy_chunk.h"

#include "text/spacy_url.h"

namespace smolfast::text {
namespace {

std::string_view view(const char* begin, const char* end) {
  return {begin, static_cast<std::size_t>(end - begin)};
}

}  // namespace

bool ChunkCutter::is_exception(const char* begin, const char* end) const {
  return with_exceptions_ && rules_.find(view(begin, end)) != nullptr;
}

bool ChunkCutter::is_whole(const char* begin, const char* end) {
  return rules_.has_whole && walk_forward<true>(rules_.whole, rules_.classes, 1, begin, end, wholes_) != nullptr;
}

void ChunkCutter::cut(const char* begin, const char* end, bool with_exceptions, std::vector<const char*>& ends) {
  with_exceptions_ = with_exceptions;
  prefixes_ = suffixes_ = infixes_ = wholes_ = WalkMemory{};
  suffix_ends_.clear();
  while (begin < end && !is_whole(begin, end) && !is_exception(begin, end)) {
    const char* inner = walk_forward<false>(rules_.prefix, rules_.classes, 1, begin, end, prefixes_);
    if (inner == nullptr) inner = begin;
    if (inner != begin && inner != end && is_exception(inner, end)) {
      ends.push_back(inner);
      begin = inner;
      break;
    }
    const char* const suffix = inner == end ? end : walk_backward(rules_.suffix, rules_.classes, inner, end, suffixes_);
    if (suffix != end && suffix != begin && is_exception(begin, suffix)) {
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
    const SpacyException* const exception = with_exceptions ? rules_.find(view(begin, end)) : nullptr;
    if (exception != nullptr) {
      for (const uint8_t token_end : exception->ends) ends.push_back(begin + token_end);
    } else if (is_whole(begin, end) || is_spacy_url(rules_.classes, begin, end)) {
      ends.push_back(end);
    } else {
      cut_infixes(begin, end, ends);
    }
  }
  for (auto it = suffix_ends_.rbegin(); it != suffix_ends_.rend(); ++it) ends.push_back(*it);
}

// The end of the first infix from `at` on, which moves to its begin; nullptr if there is none.
const char* ChunkCutter::next_infix(const char* begin, const char* end, const char*& at) {
  const Automaton& infix = rules_.infix;
  for (; at < end; at += decode(at).size) {
    if (infix.opening[rules_.classes(decode(at).code)] == 0) continue;
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
    const char* const match = walk_forward<false>(infix, rules_.classes, state, at, end, infixes_);
    if (match != nullptr) return match;
  }
  return nullptr;
}

void ChunkCutter::cut_infixes(const char* begin, const char* end, std::vector<const char*>& ends) {
  const char* token = begin;
  const char* at = begin;
  while (const char* const match = next_infix(begin, end, at)) {
    // One at the begin stays with what follows it.
    if (at != begin) {
      if (at != token) ends.push_back(at);
      ends.push_back(match);
      token = match;
    }
    at = match;
  }
  if (token != end) ends.push_back(end);
}

bool ChunkCutter::has_affixes(std::string_view chunk) {
  const char* const begin = chunk.data();
  const char* const end = begin + chunk.size();
  prefixes_ = suffixes_ = infixes_ = WalkMemory{};
  const char* at = begin;
  return walk_forward<false>(rules_.prefix, rules_.classes, 1, begin, end, prefixes_) != nullptr ||
         walk_backward(rules_.suffix, rules_.classes, begin, end, suffixes_) != end ||
         next_infix(begin, end, at) != nullptr;
}

}  // namespace smolfast::text
