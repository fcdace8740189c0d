// The loops over raw bytes that exist once per instruction set.
#pragma once

#include <cstddef>

#include "text/tables.h"

namespace smolfast::text {

struct ScanKernels {
  bool (*is_valid_utf8)(const char* text, std::size_t size);
  // The first character from `at` (a character's start) on that has any of the form's stops: needs attention under the
  // form with bit `form`, or has a combining class. `end` if there is none. The text is valid UTF-8.
  const char* (*find_stop)(const char* at, const char* end, int form, const ScanTables& tables);
  // Copies text from `at` on to `out` (which has room for it and Buffer::kSlack more) with A to Z in lower case, up to
  // the first character that `tables` hit, and moves `out` along. Returns where it stopped.
  const char* (*copy_lowered)(const char* at, const char* end, char*& out, const ScanTables& tables);
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
