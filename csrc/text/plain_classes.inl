// The classes of plain_words.cpp's blocks for sets whose vectors are a part of one, included once for each inside a
// namespace of its own, with SMOLFAST_TARGET the functions' attribute and Part the vector in scope.

SMOLFAST_TARGET inline uint64_t continuations(const char* text, std::size_t left) {
  char copy[64];
  const char* block = whole_block(text, left, copy);
  uint64_t all = 0;
  for (int i = 0; i < static_cast<int>(64 / sizeof(Part)); ++i) {
    Part x;
    std::memcpy(&x, block + i * sizeof(Part), sizeof(Part));
    all |= block_mask(bytes_between(x, '\x80', 63), i);
  }
  return all;
}

SMOLFAST_TARGET inline BlockClasses classify(const char* text, std::size_t left) {
  char copy[64];
  const char* block = whole_block(text, left, copy);
  BlockClasses all{};
  for (int i = 0; i < static_cast<int>(64 / sizeof(Part)); ++i) {
    Part x;
    std::memcpy(&x, block + i * sizeof(Part), sizeof(Part));
    all.spaces |= block_mask(bytes_equal(x, ' '), i);
    all.letters |= block_mask(bytes_between(bytes_with(x, 0x20), 'a', 25), i);
    all.digits |= block_mask(bytes_between(x, '0', 9), i);
    all.underscores |= block_mask(bytes_equal(x, '_'), i);
    all.colons |= block_mask(bytes_equal(x, ':'), i);
    all.dots |= block_mask(bytes_either(bytes_equal(x, '.'), bytes_equal(x, '\'')), i);
    all.commas |= block_mask(bytes_either(bytes_equal(x, ','), bytes_equal(x, ';')), i);
    all.above |= block_mask(x, i);
    all.latin |= block_mask(bytes_equal(x, '\xC3'), i);
    all.pairs |= block_mask(bytes_either(bytes_between(x, '\xC3', 2), bytes_between(x, '\xD0', 1)), i);
    all.signs |= block_mask(bytes_equal(bytes_within(x, '\xDF'), '\x97'), i);
    all.han |= block_mask(bytes_between(x, '\xE4', 5), i);
    all.exceptions |= block_mask(bytes_equal(x, '\xE4'), i);
  }
  return all;
}
