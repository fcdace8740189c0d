// Lower case and case folding, full mappings of the Unicode standard without locale.
#pragma once

#include <optional>
#include <string_view>

#include "text/byte_loops.h"
#include "text/transform.h"

namespace smolfast::text {

// Lower case as Python's str.lower (Unicode §3.13, Final_Sigma being the one context) or full case folding (C + F of
// CaseFolding.txt).
class CaseMapper final : public Transform {
 public:
  enum class Mapping { kLower, kFold };

  explicit CaseMapper(Mapping mapping);
  bool run(std::string_view text, Buffer& out) override;
  std::optional<bool> run_unchecked(std::string_view text, Buffer& out) override;

 private:
  const bool lower_;
  const CaseTables tables_;
  const ScanKernels& kernels_;
};

// Whether a capital sigma at `at` in [begin, end) ends its word and so becomes ς in lower case.
bool is_final_sigma(const char* begin, const char* at, const char* end);

}  // namespace smolfast::text
