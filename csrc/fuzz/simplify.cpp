// simplify in one pass against its rules applied one after the other.
#include "text/simplify.h"

#include <memory>
#include <string>
#include <vector>

#include "fuzz/text_fuzz.h"

namespace {

using namespace smolfast;

constexpr unsigned kRules = 7;

text::SimplifyOptions options(unsigned bits) {
  const auto has = [bits](unsigned bit) { return (bits >> bit & 1) != 0; };
  return {has(0), has(1), has(2), has(3), has(4), has(5), has(6)};
}

}  // namespace

// The first byte says which rules apply; all but the two on names are the default.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  static const std::vector<fuzz::Transforms> every = [] {
    std::vector<fuzz::Transforms> made;
    for (unsigned bits = 0; bits < 1u << kRules; ++bits) {
      made.emplace_back([bits] { return std::make_unique<text::Simplifier>(options(bits)); });
    }
    return made;
  }();
  if (size == 0) return 0;
  const unsigned bits = (data[0] ^ 0b1110011u) & ((1u << kRules) - 1);
  const std::string input = fuzz::repaired(data + 1, size - 1);
  std::string expected = every[0](input);  // no rule but the last strip
  for (unsigned rule = 0; rule < kRules; ++rule) {
    if ((bits >> rule & 1) != 0) expected = every[1u << rule](expected);
  }
  fuzz::check(every[bits](input) == expected, "simplified in one pass");
  return 0;
}
