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

struct Utf8State {
  Vector before;  // the last vector seen
  Vector errors;
  uint64_t open;  // whether the last vector ends inside a character
};

SMOLFAST_TARGET inline void check_vector(Vector now, Utf8State& state) {
  if (sign_mask(now) == 0) {
    // All ASCII: an error only if a character was left unfinished.
    state.errors = either(state.errors, splat(state.open != 0 ? 0xFF : 0));
    state.open = 0;
    state.before = now;
    return;
  }
  const Vector one = earlier<1>(now, state.before);
  const Vector pairs =
      both(both(shuffle(table(kFirstHigh), high_nibble(one)), shuffle(table(kFirstLow), low_nibble(one))),
           shuffle(table(kSecondHigh), high_nibble(now)));
  const Vector third = subtract_saturated(earlier<2>(now, state.before), splat(0xE0 - 0x80));
  const Vector fourth = subtract_saturated(earlier<3>(now, state.before), splat(0xF0 - 0x80));
  const Vector must_continue = both(either(third, fourth), splat(0x80));
  state.errors = either(state.errors, exclusive(must_continue, pairs));
  // A lead of 2, 3 or 4 bytes in the last 1, 2 or 3 places.
  constexpr uint64_t top = uint64_t{1} << (kWidth - 1);
  state.open = ((sign_mask(subtract_saturated(now, splat(0xC0 - 0x80))) & top) |
                (sign_mask(subtract_saturated(now, splat(0xE0 - 0x80))) & (top | top >> 1)) |
                (sign_mask(subtract_saturated(now, splat(0xF0 - 0x80))) & (top | top >> 1 | top >> 2)));
  state.before = now;
}

SMOLFAST_TARGET bool is_valid_utf8(const char* text, std::size_t size) {
  Utf8State state{splat(0), splat(0), 0};
  std::size_t at = 0;
  for (; at + kWidth <= size; at += kWidth) check_vector(load(text + at), state);
  if (at < size) {
    char tail[kWidth] = {};
    std::memcpy(tail, text + at, size - at);
    check_vector(load(tail), state);
  }
  return state.open == 0 && nonzero_mask(state.errors) == 0;
}

struct StopTables {
  Vector pair[4];
  Vector kana[4];
};

// Bits for the starts in [at, at + kWidth) of characters that may be stops; reads two bytes further.
SMOLFAST_TARGET inline uint64_t candidates(const char* at, const StopTables& tables) {
  const Vector first = load(at);
  if (sign_mask(first) == 0) return 0;
  const Vector second = load(at + 1);
  const Vector high = high_nibble(second);
  const Vector low = low_nibble(second);
  const Vector hit = both(both(shuffle(tables.pair[0], high_nibble(first)), shuffle(tables.pair[1], low_nibble(first))),
                          both(shuffle(tables.pair[2], high), shuffle(tables.pair[3], low)));
  uint64_t found = nonzero_mask(hit);
  const uint64_t kana = equal_mask(first, 0xE3);
  if (kana != 0) {
    const Vector third = load(at + 2);
    const Vector kana_hit =
        both(both(shuffle(tables.kana[0], high), shuffle(tables.kana[1], low)),
             both(shuffle(tables.kana[2], high_nibble(third)), shuffle(tables.kana[3], low_nibble(third))));
    found |= kana & nonzero_mask(kana_hit);
  }
  return found;
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

SMOLFAST_TARGET inline StopTables widen(const ScanTables& tables) {
  return {{table(tables.pair[0]), table(tables.pair[1]), table(tables.pair[2]), table(tables.pair[3])},
          {table(tables.kana[0]), table(tables.kana[1]), table(tables.kana[2]), table(tables.kana[3])}};
}

SMOLFAST_TARGET const char* map_case(const char* at, const char* end, char*& out, const CaseTables& tables) {
  const StopTables wide = widen(tables.scan);
  Block block;
  while (at < end) {
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

SMOLFAST_TARGET const char* find_stop(const char* at, const char* end, int form, const ScanTables& tables) {
  const StopTables wide = widen(tables);
  Block block;
  for (; at < end; at += kWidth) {
    read_block(at, end, block);
    uint64_t found = candidates(block.data, wide);
    while (found != 0) {
      const int place = __builtin_ctzll(found);
      const Decoded c = decode(block.data + place);
      if (is_stop(norm_record(c.code), form)) return at + place;
      found &= found - 1;
    }
  }
  return end;
}
