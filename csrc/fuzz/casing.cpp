// Lower case and case folding against a loop over characters.
#include "text/casing.h"

#include <memory>
#include <string>

#include "fuzz/text_fuzz.h"

namespace {

using namespace smolfast;
using Mapping = text::CaseMapper::Mapping;

std::string reference(std::string_view input, Mapping mapping) {
  const bool lower = mapping == Mapping::kLower;
  const char* const begin = input.data();
  const char* const end = begin + input.size();
  std::string out;
  for (const char* at = begin; at < end;) {
    const text::Decoded c = text::decode(at);
    const text::CaseRecord& record =
        lower ? text::kLowerRecords[text::lookup(text::kLowerIndex, text::kLowerValues, c.code)]
              : text::kFoldRecords[text::lookup(text::kFoldIndex, text::kFoldValues, c.code)];
    if (lower && c.code == text::kCapitalSigma && text::is_final_sigma(begin, at, end)) {
      out += "ς";
    } else if (record.size != 0) {
      out.append(record.bytes, record.size);
    } else {
      out.append(at, c.size);
    }
    at += c.size;
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  static const fuzz::Transforms lower([] { return std::make_unique<text::CaseMapper>(Mapping::kLower); });
  static const fuzz::Transforms fold([] { return std::make_unique<text::CaseMapper>(Mapping::kFold); });
  const std::string input = fuzz::repaired(data, size);
  fuzz::check(lower(input) == reference(input, Mapping::kLower), "lower case");
  fuzz::check(fold(input) == reference(input, Mapping::kFold), "case folding");
  return 0;
}
