// The loops over raw bytes that exist once per instruction set.
#pragma once

#include <cstddef>

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

struct ScanKernels {
  bool (*is_valid_utf8)(const char* text, std::size_t size);
  // The first character from `at` (a character's start) on that has any of the form's stops: needs attention under the
  // form with bit `form`, or has a combining class. `end` if there is none. The text is valid UTF-8.
  const char* (*find_stop)(const char* at, const char* end, int form, const ScanTables& tables);
  // Copies text from `at` on to `out` (which has room for it and Buffer::kSlack more) with the mapping applied, and
  // moves `out` along, up to the first character whose mapping has another size or is capital sigma. Returns where it
  // stopped.
  const char* (*map_case)(const char* at, const char* end, char*& out, const CaseTables& tables);
  // Where the first byte A to Z or character that `tables` hit stands, or `end`.
  const char* (*find_upper)(const char* at, const char* end, const ScanTables& tables);
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
