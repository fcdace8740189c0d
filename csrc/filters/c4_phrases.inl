// The loop of c4_phrases.cpp, included once per instruction set inside a namespace of its own, with SMOLFAST_TARGET the
// functions' attribute, and may_hold_phrase and the bytes that it looks at in scope.

SMOLFAST_TARGET unsigned look(std::string_view text) {
  constexpr std::size_t kRead = kWide + 2;
  if (text.size() < kRead) return walk(text);
  unsigned found = 0;
  const std::size_t last = text.size() - kRead;
  for (std::size_t at = 0;; at = std::min(at + kWide, last)) {
    if (may_hold_phrase(text.data() + at)) {
      const std::size_t from = at < kAround ? 0 : at - kAround;
      found |= walk(text.substr(from, at + kWide + kAround - from));
    }
    if (at == last) return found;
  }
}
