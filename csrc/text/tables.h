// Unicode data for the text code; the values are written by generate_tables.py into the build tree.
#pragma once

#include <cstdint>

namespace smolfast::text {

extern const char kUnicodeVersion[];

// A table over all code points in two stages: block of 64, then place in the block.
template <typename Value>
inline Value lookup(const uint16_t* index, const Value* values, uint32_t code) {
  return values[(static_cast<uint32_t>(index[code >> 6]) << 6) | (code & 63)];
}

// Bits of NormRecord::flags, for the form as bit number: 0 NFC, 1 NFKC, 2 NFD, 3 NFKD.
// Changes under the form or (composing forms) may join to the character before it: quick check isn't Yes.
constexpr int kAttentionShift = 0;
// Nothing before this character can join with it or be reordered past it.
constexpr int kStartsSegmentShift = 4;

struct NormRecord {
  uint16_t canonical;      // place in kDecompositions of the full decomposition
  uint16_t compatibility;  // the same for NFKD
  uint8_t combining_class;
  uint8_t flags;
  uint16_t first;           // row in kCompositions, 0 = starts no composition
  uint8_t second;           // column in kCompositions, 0 = ends none
  uint8_t canonical_bytes;  // 0 = decomposes to itself, or a Hangul syllable
  uint8_t compatibility_bytes;
  uint8_t alone;  // bits 0 and 1: standing alone it changes under NFC or NFKC, to what its decomposition is

  NormRecord() = default;
  constexpr NormRecord(int canonical, int compatibility, int combining_class, int flags, int first, int second,
                       int canonical_bytes, int compatibility_bytes, int alone)
      : canonical(static_cast<uint16_t>(canonical)),
        compatibility(static_cast<uint16_t>(compatibility)),
        combining_class(static_cast<uint8_t>(combining_class)),
        flags(static_cast<uint8_t>(flags)),
        first(static_cast<uint16_t>(first)),
        second(static_cast<uint8_t>(second)),
        canonical_bytes(static_cast<uint8_t>(canonical_bytes)),
        compatibility_bytes(static_cast<uint8_t>(compatibility_bytes)),
        alone(static_cast<uint8_t>(alone)) {}
};

extern const uint16_t kNormIndex[];
extern const uint16_t kNormValues[];
extern const NormRecord kNormRecords[];
extern const uint8_t kDecompositions[];  // UTF-8

inline const NormRecord& norm_record(uint32_t code) {
  return kNormRecords[lookup(kNormIndex, kNormValues, code)];
}

extern const uint32_t kCompositionWidth;
extern const uint16_t kCompositions[];  // [first, second]; 0 = none, below 0xC0 a place in kSupplementaryCompositions
extern const uint32_t kSupplementaryCompositions[];
// What U+0300 to U+037F make of U+0040 to U+007F, by mark and letter, and U+3099 and U+309A of U+3040 to U+30FF; 0 =
// none.
extern const uint16_t kLatinCompositions[];
extern const uint16_t kKanaCompositions[];

// Nibble tables for finding, 16 bytes or more at a time, characters that a form may not pass over. A lead and second
// byte may be such a character if the four lookups (lead high, lead low, second high, second low) share a bit; a
// character that starts with E3 (kana among them), E2 or EF (symbols among them) if those of its second and third byte
// do. No such character is missed; others may be hit.
struct ScanTables {
  uint8_t pair[4][16];
  uint8_t kana[4][16];
  uint8_t symbols[4][16];
};
extern const ScanTables kScanNFC;
extern const ScanTables kScanNFKC;
extern const ScanTables kScanNFD;
extern const ScanTables kScanNFKD;

// The UTF-8 form that a character is mapped to; size 0 = itself.
struct CaseRecord {
  char bytes[7];
  uint8_t size;
  constexpr CaseRecord(int a, int b, int c, int d, int e, int f, int g, int size)
      : bytes{static_cast<char>(a), static_cast<char>(b), static_cast<char>(c), static_cast<char>(d),
              static_cast<char>(e), static_cast<char>(f), static_cast<char>(g)},
        size(static_cast<uint8_t>(size)) {}
};
extern const uint16_t kLowerIndex[];
extern const uint16_t kLowerValues[];
extern const CaseRecord kLowerRecords[];
// Where non-ASCII characters stand that the mapping changes, as ScanTables say.
extern const ScanTables kScanLower;
extern const ScanTables kScanFold;
extern const uint16_t kFoldIndex[];
extern const uint16_t kFoldValues[];
extern const CaseRecord kFoldRecords[];

// Lower case, decomposed, without nonspacing marks, where nothing waits to be put in order; size 0 = look closer.
extern const ScanTables kScanSimple;
extern const uint16_t kSimpleIndex[];
extern const uint16_t kSimpleValues[];
extern const CaseRecord kSimpleRecords[];

// UAX #29 word-break classes; kSingle is our own: a character that is a word of its own (Han, kana, Thai, Lao, Khmer
// and other letters that no rule joins).
enum class WordBreak : uint8_t {
  kOther,
  kALetter,
  kHebrewLetter,
  kNumeric,
  kExtend,
  kFormat,
  kZwj,
  kExtendNumLet,
  kMidLetter,
  kMidNum,
  kMidNumLet,
  kSingleQuote,
  kDoubleQuote,
  kRegionalIndicator,
  kWSegSpace,
  kNewline,
  kCr,
  kLf,
  kSingle
};
extern const uint16_t kWordBreakIndex[];
extern const uint8_t kWordBreakValues[];

inline WordBreak word_break(uint32_t code) {
  return static_cast<WordBreak>(lookup(kWordBreakIndex, kWordBreakValues, code));
}

// Bits of kKindValues.
constexpr uint16_t kDecimalDigit = 1 << 0;    // general category Nd
constexpr uint16_t kNonspacingMark = 1 << 1;  // general category Mn
constexpr uint16_t kSpace = 1 << 2;           // as Python's str.isspace
constexpr uint16_t kCased = 1 << 3;
constexpr uint16_t kCaseIgnorable = 1 << 4;
constexpr uint16_t kAlphanumeric = 1 << 5;          // general category L* or N*
constexpr uint16_t kControl = 1 << 6;               // general category Cc
constexpr uint16_t kPictographic = 1 << 7;          // Extended_Pictographic
constexpr uint16_t kDatatrovePunctuation = 1 << 8;  // what datatrove's simplify_text makes a space
constexpr uint16_t kNumberSeparator = 1 << 9;       // between the two parts of a number, for the same
constexpr uint16_t kLowers = 1 << 10;               // changes in lower case
constexpr uint16_t kDecomposes = 1 << 11;           // changes in NFD
constexpr uint16_t kReordered = 1 << 12;            // has a combining class
constexpr uint16_t kLetter = 1 << 13;               // general category L*
// No character, or a letter or number of Unicode 17 or later: what it is depends on the version.
constexpr uint16_t kUnsettled = 1 << 14;
extern const uint16_t kKindIndex[];
extern const uint16_t kKindValues[];

inline uint16_t kind(uint32_t code) {
  return lookup(kKindIndex, kKindValues, code);
}

}  // namespace smolfast::text
