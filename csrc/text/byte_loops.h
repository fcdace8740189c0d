// The loops over raw bytes that exist once per instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "text/clean_tables.h"
#include "text/tables.h"

namespace smolfast::text {

// A case mapping: its trie, its records, and where the characters stand that it changes.
struct CaseTables {
  const uint16_t* index;
  const uint16_t* values;
  const CaseRecord* records;
  const ScanTables& scan;
};

constexpr uint32_t kCapitalSigma = 0x3A3;

// Where characters stand that may be stops of a form: need attention under it, or have a combining class. Bit n of
// `mask` is for the character that starts at block + n; no stop is missed. `mask` is 0 if there are none up to the end.
struct Candidates {
  const char* block;
  uint64_t mask;
};
constexpr int kScanBlock = 64;

// Whether a text is ASCII, and whether a letter in it is upper case (known only if it is).
struct AsciiCase {
  bool is_ascii;
  bool has_upper;
};

struct ScanKernels {
  bool (*is_valid_utf8)(const char* text, std::size_t size);
  // Whether a text of any bytes is UTF-8 and holds no candidates for the stops of the form that `tables` are of. It may
  // say no where that is so.
  bool (*is_valid_without_stops)(const char* text, std::size_t size, const ScanTables& tables);
  // The next 64 bytes from `at` on that hold candidates for the stops of the form with bit `form`.
  Candidates (*find_candidates)(const char* at, const char* end, int form, const ScanTables& tables);
  // Copies text from `at` on to `out` (which has room for it and Buffer::kSlack more) with the mapping applied, and
  // moves `out` along, up to the first character whose mapping has another size or is capital sigma. Returns where it
  // stopped.
  const char* (*map_case)(const char* at, const char* end, char*& out, const CaseTables& tables);
  // Writes a text of any bytes to `out` (which has room for it and Buffer::kSlack more) in lower case, if it's ASCII.
  AsciiCase (*lower_ascii)(const char* text, std::size_t size, char* out);
  // Where the first byte A to Z or character that `tables` hit stands, or `end`.
  const char* (*find_upper)(const char* at, const char* end, const ScanTables& tables);
  // Where the first character stands that the rules of clean may change, given what stands before it from `at` on, or
  // `end`. A line begins at `at` if `line_start`.
  const char* (*find_unclean)(const char* at, const char* end, bool line_start, const CleanTables& tables);
};

// The kernels of active_isa().
const ScanKernels& scan_kernels();

// Whether `record` is a stop of the form.
inline bool is_stop(const NormRecord& record, int form) {
  return ((record.flags >> (kAttentionShift + form)) & 1) != 0 || record.combining_class != 0;
}

extern const ScanKernels kScanBaseline;
extern const ScanKernels kScanAvx2;
extern const ScanKernels kScanAvx512;

}  // namespace smolfast::text
