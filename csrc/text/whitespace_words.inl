// The loop of spaced_words.cpp, included once per instruction set inside a namespace of its own, with SMOLFAST_TARGET
// the functions' attribute and these in scope:
//   SpaceClasses classify(const char* text, std::size_t left): the next 64 bytes, spaces behind the text's end;
//   void write_bounds(uint64_t mask, int count, uint32_t base, uint32_t* out): up to kSpacedBlockBounds - 1 of them.

SMOLFAST_TARGET std::size_t scan(std::string_view text, SpacedPosition& position, uint32_t* bounds,
                                 std::size_t capacity) {
  std::size_t found = 0;
  std::size_t at = position.at;
  uint64_t before = position.before;
  uint64_t carry = position.carry;
  while (at < text.size() && found + kSpacedBlockBounds <= capacity) {
    prefetch_ahead(text.data() + at);
    const SpaceClasses classes = classify(text.data() + at, text.size() - at);
    uint64_t separators = classes.spaces | carry;
    carry = 0;
    for (uint64_t leads = classes.leads; leads != 0; leads &= leads - 1) {
      const int i = std::countr_zero(leads);
      const int size = space_size(text.data() + at + i, text.data() + text.size());
      const uint64_t bytes = (uint64_t{1} << size) - 1;
      separators |= bytes << i;
      if (i + size > 64) carry = bytes >> (64 - i);
    }
    const uint64_t changes = separators ^ (separators << 1 | before);
    const int count = std::popcount(changes);
    write_bounds(changes, count, static_cast<uint32_t>(at), bounds + found);
    found += static_cast<std::size_t>(count);
    before = separators >> 63;
    at += 64;
  }
  if (at >= text.size() && before == 0) {
    bounds[found++] = static_cast<uint32_t>(text.size());
    before = 1;
  }
  position = {at, before, carry};
  return found;
}
