// The loop of survey.cpp, included once per instruction set inside a namespace of its own, with SMOLFAST_TARGET the
// functions' attribute and Block the next 64 bytes in scope.

SMOLFAST_TARGET void walk(std::string_view text, Survey& survey) {
  const char* const begin = text.data();
  std::size_t feed_count = 0;
  std::size_t characters = 0;
  std::size_t hashes = 0;
  std::size_t word_begins = 0;
  uint64_t other_breaks = 0;
  uint64_t feed_runs = 0;
  uint64_t ellipses = 0;
  uint64_t brackets = 0;
  uint64_t feed_before = 0;
  uint64_t gap_before = 1;
  uint64_t dots_before = 0;  // whether the last two bytes are dots, in the lowest two bits
  uint64_t leads_before[2] = {0, 0};
  for (std::size_t at = 0; at < text.size(); at += 64) {
    const std::size_t left = text.size() - at;
    char copy[64];
    const Block block(text::whole_block(begin + at, left, copy));
    const uint64_t feeds = block.equal('\n');
    const uint64_t gaps = feeds | block.equal(' ');
    const uint64_t dots = block.equal('.');
    word_begins += static_cast<std::size_t>(std::popcount(block.printable() & (gaps << 1 | gap_before)));
    hashes += static_cast<std::size_t>(std::popcount(block.equal('#')));
    feed_runs |= feeds & (feeds << 1 | feed_before);
    ellipses |= dots & (dots << 1 | dots_before >> 1) & (dots << 2 | dots_before);
    brackets |= block.equal('[') | block.equal('{');
    other_breaks |= block.between('\x0B', 2) | block.between('\x1C', 2);
    feed_before = feeds >> 63;
    gap_before = gaps >> 63;
    dots_before = dots >> 62;
    uint64_t starts = left >= 64 ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
    if (block.above() != 0) {
      starts &= ~block.between('\x80', 0x3F);
      const uint64_t c2 = block.equal('\xC2');
      const uint64_t e2 = block.equal('\xE2');
      const uint64_t e2_80 = (e2 << 1 | leads_before[1] >> 63) & block.equal('\x80');
      // U+0085, U+2028 and U+2029. What reaches into the next block is taken for one.
      other_breaks |= (c2 << 1 | leads_before[0] >> 63) & block.equal('\x85');
      other_breaks |= (e2_80 << 1 & block.between('\xA8', 1)) | (e2_80 >> 63);
      ellipses |= e2;
      leads_before[0] = c2;
      leads_before[1] = e2;
    } else {
      leads_before[0] = leads_before[1] = 0;
    }
    if (survey.feeds.size() < feed_count + 64) survey.feeds.resize(2 * feed_count + 256);
    LineFeed* out = survey.feeds.data() + feed_count;
    const int count = std::popcount(feeds);
    feed_count += static_cast<std::size_t>(count);
    // Four at a time, since a loop's end is hard to foretell; what is written beyond the last is overwritten.
    uint64_t rest = feeds;
    for (int done = 0; done < count; done += 4) {
      for (int i = 0; i < 4; ++i, ++out, rest &= rest - 1) {
        const uint64_t before = starts & ((rest & (0 - rest)) - 1);
        *out = {static_cast<uint32_t>(at) + static_cast<uint32_t>(std::countr_zero(rest)),
                static_cast<uint32_t>(characters) + static_cast<uint32_t>(std::popcount(before))};
      }
    }
    characters += static_cast<std::size_t>(std::popcount(starts));
  }
  survey.feed_count = feed_count;
  survey.characters = characters;
  survey.hashes = hashes;
  survey.word_begins = word_begins;
  survey.other_breaks = other_breaks != 0;
  survey.feed_runs = feed_runs != 0;
  survey.ellipses = ellipses != 0;
  survey.brackets = brackets != 0;
}
