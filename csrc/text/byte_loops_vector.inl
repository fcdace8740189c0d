// The vector kernels of scan.h, written once over the few operations that scan_avx2.cpp and scan_avx512.cpp define.

// UTF-8 validation by Keiser and Lemire, "Validating UTF-8 In Less Than One Instruction Per Byte" (2021), §6: every
// error that two neighbouring bytes can show is a bit shared by three nibble lookups; missing and surplus third and
// fourth bytes are found from the leads two and three bytes before.
constexpr uint8_t kTooShort = 1, kTooLong = 2, kOverlong3 = 4, kTooLarge = 8, kSurrogate = 16, kOverlong2 = 32,
                  kTooLarge1000 = 64, kOverlong4 = 64, kTwoContinuations = 128;
constexpr uint8_t kCarry = kTooShort | kTooLong | kTwoContinuations;
constexpr uint8_t kFirstHigh[16] = {kTooLong,
                                    kTooLong,
                                    kTooLong,
                                    kTooLong,
                                    kTooLong,
                                    kTooLong,
                                    kTooLong,
                                    kTooLong,
                                    kTwoContinuations,
                                    kTwoContinuations,
                                    kTwoContinuations,
                                    kTwoContinuations,
                                    kTooShort | kOverlong2,
                                    kTooShort,
                                    kTooShort | kOverlong3 | kSurrogate,
                                    kTooShort | kTooLarge | kTooLarge1000 | kOverlong4};
constexpr uint8_t kFirstLow[16] = {kCarry | kOverlong3 | kOverlong2 | kOverlong4,
                                   kCarry | kOverlong2,
                                   kCarry,
                                   kCarry,
                                   kCarry | kTooLarge,
                                   kCarry | kTooLarge | kTooLarge1000,
                                   kCarry | kTooLarge | kTooLarge1000,
                                   kCarry | kTooLarge | kTooLarge1000,
                                   kCarry | kTooLarge | kTooLarge1000,
                                   kCarry | kTooLarge | kTooLarge1000,
                                   kCarry | kTooLarge | kTooLarge1000,
                                   kCarry | kTooLarge | kTooLarge1000,
                                   kCarry | kTooLarge | kTooLarge1000,
                                   kCarry | kTooLarge | kTooLarge1000 | kSurrogate,
                                   kCarry | kTooLarge | kTooLarge1000,
                                   kCarry | kTooLarge | kTooLarge1000};
constexpr uint8_t kSecondHigh[16] = {
    kTooShort,
    kTooShort,
    kTooShort,
    kTooShort,
    kTooShort,
    kTooShort,
    kTooShort,
    kTooShort,
    kTooLong | kOverlong2 | kTwoContinuations | kOverlong3 | kTooLarge1000 | kOverlong4,
    kTooLong | kOverlong2 | kTwoContinuations | kOverlong3 | kTooLarge,
    kTooLong | kOverlong2 | kTwoContinuations | kSurrogate | kTooLarge,
    kTooLong | kOverlong2 | kTwoContinuations | kSurrogate | kTooLarge,
    kTooShort,
    kTooShort,
    kTooShort,
    kTooShort};

// Four blocks are taken together where any of their bytes isn't ASCII: a branch on each is mispredicted in every third
// block of French, which took longer than all the rest.
constexpr int kGroup = 256;

// Whether any of the bytes isn't ASCII.
SMOLFAST_TARGET inline bool is_group_ascii(const char* at) {
  Vector all = load(at);
  for (int i = kWidth; i < kGroup; i += kWidth) all = either(all, load(at + i));
  return sign_mask(all) == 0;
}

// A lead of 2, 3 or 4 bytes in the last 1, 2 or 3 places leaves something of the last four bytes less these.
constexpr uint8_t kLastWhole[16] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
                                    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xEF, 0xDF, 0xBF};

// All zero if no character is left unfinished by the vector that ends at `end`.
SMOLFAST_TARGET inline Vector unfinished(const char* end) {
  char last[kWidth] = {};
  std::memcpy(last, end - 16, 16);
  return subtract_saturated(load(last), table(kLastWhole));
}

struct Utf8State {
  Vector before;  // the last vector seen
  Vector errors;
};

SMOLFAST_TARGET inline void check_vector(Vector now, Utf8State& state) {
  const Vector one = earlier<1>(now, state.before);
  const Vector pairs =
      both(both(shuffle(table(kFirstHigh), high_nibble(one)), shuffle(table(kFirstLow), low_nibble(one))),
           shuffle(table(kSecondHigh), high_nibble(now)));
  const Vector third = subtract_saturated(earlier<2>(now, state.before), splat(0xE0 - 0x80));
  const Vector fourth = subtract_saturated(earlier<3>(now, state.before), splat(0xF0 - 0x80));
  const Vector must_continue = both(either(third, fourth), splat(0x80));
  state.errors = either(state.errors, exclusive(must_continue, pairs));
  state.before = now;
}

SMOLFAST_TARGET bool is_valid_utf8(const char* text, std::size_t size) {
  Utf8State state{splat(0), splat(0)};
  std::size_t at = 0;
  bool after_ascii = true;
  for (; at + kGroup <= size; at += kGroup) {
    if (is_group_ascii(text + at)) {
      // An error only if a character was left unfinished.
      if (!after_ascii) state.errors = either(state.errors, unfinished(text + at));
      state.before = splat(0);
      after_ascii = true;
      continue;
    }
    for (int i = 0; i < kGroup; i += kWidth) check_vector(load(text + at + static_cast<std::size_t>(i)), state);
    after_ascii = false;
  }
  for (; at + kWidth <= size; at += kWidth) check_vector(load(text + at), state);
  // What is left, followed by at least one zero, which shows a character left unfinished.
  char tail[kWidth] = {};
  if (at < size) std::memcpy(tail, text + at, size - at);
  check_vector(load(tail), state);
  return nonzero_mask(state.errors) == 0;
}

struct StopTables {
  Vector pair[4];
  Vector kana[4];
  Vector symbols[4];
};

SMOLFAST_TARGET inline Vector shared_bits(const Vector (&tables)[4], Vector high_a, Vector low_a, Vector high_b,
                                          Vector low_b) {
  return both(both(shuffle(tables[0], high_a), shuffle(tables[1], low_a)),
              both(shuffle(tables[2], high_b), shuffle(tables[3], low_b)));
}

// Bits for the starts in [at, at + kWidth) of characters that may be stops; reads two bytes further.
SMOLFAST_TARGET inline uint64_t candidates(const char* at, const StopTables& tables) {
  const Vector first = load(at);
  const Vector second = load(at + 1);
  const Vector high = high_nibble(second);
  const Vector low = low_nibble(second);
  uint64_t found = nonzero_mask(shared_bits(tables.pair, high_nibble(first), low_nibble(first), high, low));
  const uint64_t kana = equal_mask(first, 0xE3);
  const uint64_t symbols = equal_mask(first, 0xE2) | equal_mask(first, 0xEF);
  if ((kana | symbols) != 0) {
    const Vector third = load(at + 2);
    const Vector third_high = high_nibble(third);
    const Vector third_low = low_nibble(third);
    found &= ~(kana | symbols);
    if (kana != 0) found |= kana & nonzero_mask(shared_bits(tables.kana, high, low, third_high, third_low));
    if (symbols != 0) found |= symbols & nonzero_mask(shared_bits(tables.symbols, high, low, third_high, third_low));
  }
  return found;
}

SMOLFAST_TARGET inline StopTables widen(const ScanTables& tables) {
  return {{table(tables.pair[0]), table(tables.pair[1]), table(tables.pair[2]), table(tables.pair[3])},
          {table(tables.kana[0]), table(tables.kana[1]), table(tables.kana[2]), table(tables.kana[3])},
          {table(tables.symbols[0]), table(tables.symbols[1]), table(tables.symbols[2]), table(tables.symbols[3])}};
}

// Whether a character that ends or goes on in `now` may be a stop. What the check of UTF-8 looks up it looks up, too.
SMOLFAST_TARGET inline bool may_stop(Vector now, Vector before, const StopTables& tables) {
  const Vector one = earlier<1>(now, before);
  const Vector high_one = high_nibble(one), low_one = low_nibble(one);
  const Vector high = high_nibble(now), low = low_nibble(now);
  uint64_t found = nonzero_mask(shared_bits(tables.pair, high_one, low_one, high, low));
  const Vector two = earlier<2>(now, before);
  // Leads of three bytes and more in `two`.
  const uint64_t long_leads = sign_mask(subtract_saturated(two, splat(0xE0 - 0x80)));
  if ((found | long_leads) == 0) return false;
  found &= ~(equal_mask(one, 0xE3) | equal_mask(one, 0xE2) | equal_mask(one, 0xEF));
  const uint64_t kana = equal_mask(two, 0xE3);
  const uint64_t symbols = equal_mask(two, 0xE2) | equal_mask(two, 0xEF);
  if (kana != 0) found |= kana & nonzero_mask(shared_bits(tables.kana, high_one, low_one, high, low));
  if (symbols != 0) found |= symbols & nonzero_mask(shared_bits(tables.symbols, high_one, low_one, high, low));
  return found != 0;
}

SMOLFAST_TARGET bool is_valid_without_stops(const char* text, std::size_t size, const ScanTables& tables) {
  const StopTables wide = widen(tables);
  Utf8State state{splat(0), splat(0)};
  std::size_t at = 0;
  bool after_ascii = true;
  for (; at + kGroup <= size; at += kGroup) {
    if (is_group_ascii(text + at)) {
      if (!after_ascii) state.errors = either(state.errors, unfinished(text + at));
      state.before = splat(0);
      after_ascii = true;
      continue;
    }
    bool stops = false;
    for (int i = 0; i < kGroup; i += kWidth) {
      const Vector now = load(text + at + static_cast<std::size_t>(i));
      stops |= may_stop(now, state.before, wide);
      check_vector(now, state);
    }
    if (stops) return false;
    after_ascii = false;
  }
  for (; at < size; at += kWidth) {
    char tail[kWidth] = {};
    const char* block = text + at;
    if (size - at < kWidth) {
      std::memcpy(tail, block, size - at);
      block = tail;
    }
    const Vector now = load(block);
    if (may_stop(now, state.before, wide)) return false;
    check_vector(now, state);
  }
  // A character that the last vector leaves unfinished.
  check_vector(splat(0), state);
  return nonzero_mask(state.errors) == 0;
}

// All ones where the byte is A to Z.
SMOLFAST_TARGET inline Vector ascii_upper(Vector bytes) {
  return signed_less(add(bytes, splat(63)), splat(-128 + 26));
}

// The text from `at` on, padded with zeros if it ends within `kWidth + 2` bytes.
struct Block {
  char tail[kWidth + 2];
  const char* data;
};
SMOLFAST_TARGET inline void read_block(const char* at, const char* end, Block& block) {
  block.data = at;
  if (end - at >= kWidth + 2) return;
  std::memset(block.tail, 0, sizeof(block.tail));
  std::memcpy(block.tail, at, static_cast<std::size_t>(end - at));
  block.data = block.tail;
}

SMOLFAST_TARGET const char* map_case(const char* at, const char* end, char*& out, const CaseTables& tables) {
  const StopTables wide = widen(tables.scan);
  Block block;
  while (at < end) {
    if (end - at >= kGroup && is_group_ascii(at)) {
      for (int i = 0; i < kGroup; i += kWidth) {
        const Vector bytes = load(at + i);
        store(out + i, add(bytes, both(ascii_upper(bytes), splat('a' - 'A'))));
      }
      out += kGroup;
      at += kGroup;
      continue;
    }
    read_block(at, end, block);
    const Vector bytes = load(block.data);
    store(out, add(bytes, both(ascii_upper(bytes), splat('a' - 'A'))));
    int step = end - at < kWidth ? static_cast<int>(end - at) : kWidth;
    for (uint64_t found = candidates(block.data, wide); found != 0; found &= found - 1) {
      const int place = __builtin_ctzll(found);
      const Decoded c = decode(at + place);
      const CaseRecord& record = tables.records[lookup(tables.index, tables.values, c.code)];
      if (record.size == 0) continue;
      if (c.code == kCapitalSigma || record.size != c.size) {
        out += place;
        return at + place;
      }
      // The next block's store would undo what reaches into it: let that block start here.
      if (place + static_cast<int>(c.size) > step) {
        step = place;
        break;
      }
      std::memcpy(out + place, record.bytes, 2);
      if (c.size > 2) std::memcpy(out + place + 2, record.bytes + 2, c.size - 2);
    }
    out += step;
    at += step;
  }
  return end;
}

SMOLFAST_TARGET AsciiCase lower_ascii(const char* text, std::size_t size, char* out) {
  Vector uppers = splat(0);
  std::size_t at = 0;
  for (; at + kGroup <= size; at += kGroup) {
    if (!is_group_ascii(text + at)) return {false, false};
    for (std::size_t i = at; i < at + kGroup; i += kWidth) {
      const Vector bytes = load(text + i);
      const Vector upper = ascii_upper(bytes);
      uppers = either(uppers, upper);
      store(out + i, add(bytes, both(upper, splat('a' - 'A'))));
    }
  }
  Vector all = splat(0);
  for (; at < size; at += kWidth) {
    char tail[kWidth] = {};
    const char* block = text + at;
    if (size - at < kWidth) {
      std::memcpy(tail, block, size - at);
      block = tail;
    }
    const Vector bytes = load(block);
    const Vector upper = ascii_upper(bytes);
    all = either(all, bytes);
    uppers = either(uppers, upper);
    store(out + at, add(bytes, both(upper, splat('a' - 'A'))));
  }
  return {sign_mask(all) == 0, nonzero_mask(uppers) != 0};
}

SMOLFAST_TARGET const char* find_upper(const char* at, const char* end, const ScanTables& tables) {
  const StopTables wide = widen(tables);
  Block block;
  for (; at < end; at += kWidth) {
    read_block(at, end, block);
    const uint64_t found = candidates(block.data, wide) | sign_mask(ascii_upper(load(block.data)));
    if (found != 0) return at + __builtin_ctzll(found);
  }
  return end;
}

SMOLFAST_TARGET inline uint64_t block_candidates(const char* at, const StopTables& tables) {
  uint64_t found = candidates(at, tables);
  if constexpr (kWidth < kScanBlock) found |= candidates(at + kWidth, tables) << (kScanBlock - kWidth);
  return found;
}

SMOLFAST_TARGET Candidates find_candidates(const char* at, const char* end, int, const ScanTables& tables) {
  const StopTables wide = widen(tables);
  while (end - at >= kGroup + 2) {
    if (is_group_ascii(at)) {
      at += kGroup;
      continue;
    }
    for (int i = 0; i < kGroup; i += kScanBlock, at += kScanBlock) {
      if (const uint64_t mask = block_candidates(at, wide)) return {at, mask};
    }
  }
  for (; end - at >= kScanBlock + 2; at += kScanBlock) {
    if (const uint64_t mask = block_candidates(at, wide)) return {at, mask};
  }
  for (; at < end; at += kScanBlock) {
    char tail[kScanBlock + 2] = {};
    std::memcpy(tail, at, static_cast<std::size_t>(end - at));
    if (const uint64_t mask = block_candidates(tail, wide)) return {at, mask};
  }
  return {end, 0};
}

// The six lookups share a bit.
SMOLFAST_TARGET inline uint64_t shared_mask(Vector first, Vector second, Vector third, const Vector (&pair)[4],
                                            const Vector (&triple)[6]) {
  const Vector first_high = high_nibble(first), first_low = low_nibble(first);
  const Vector second_high = high_nibble(second), second_low = low_nibble(second);
  const Vector of_three = both(both(both(shuffle(triple[0], first_high), shuffle(triple[1], first_low)),
                                    both(shuffle(triple[2], second_high), shuffle(triple[3], second_low))),
                               both(shuffle(triple[4], high_nibble(third)), shuffle(triple[5], low_nibble(third))));
  return nonzero_mask(either(shared_bits(pair, first_high, first_low, second_high, second_low), of_three));
}

SMOLFAST_TARGET const char* find_unclean(const char* at, const char* end, bool line_start, const CleanTables& tables) {
  const Vector pair[4] = {table(tables.pair[0]), table(tables.pair[1]), table(tables.pair[2]), table(tables.pair[3])};
  const Vector triple[6] = {table(tables.triple[0]), table(tables.triple[1]), table(tables.triple[2]),
                            table(tables.triple[3]), table(tables.triple[4]), table(tables.triple[5])};
  // Of the block before: its last byte's bit in `blanks`, those of its last two in `line_feeds`.
  uint64_t blanks_before = 0;
  uint64_t line_feeds_before = line_start ? 2 : 0;
  const uint64_t trailing = tables.trailing_whitespace ? ~uint64_t{0} : 0;
  const uint64_t after_one = tables.line_feeds == 1 ? ~uint64_t{0} : 0;
  const uint64_t after_two = tables.line_feeds == 2 ? ~uint64_t{0} : 0;
  Block block;
  for (; at < end; at += kWidth) {
    read_block(at, end, block);
    const Vector first = load(block.data);
    const uint64_t blanks = equal_mask(first, ' ') | equal_mask(first, '\t');
    const uint64_t line_feeds = equal_mask(first, '\n');
    const uint64_t second_feeds = line_feeds & (line_feeds << 1 | line_feeds_before >> 1);
    uint64_t found = shared_mask(first, load(block.data + 1), load(block.data + 2), pair, triple);
    found |= trailing & line_feeds & (blanks << 1 | blanks_before);
    found |= second_feeds & (after_one | (after_two & (line_feeds << 2 | line_feeds_before)));
    if (end - at < kWidth) found &= (uint64_t{1} << (end - at)) - 1;
    if (found != 0) return at + __builtin_ctzll(found);
    blanks_before = blanks >> (kWidth - 1);
    line_feeds_before = line_feeds >> (kWidth - 2);
  }
  return end;
}
