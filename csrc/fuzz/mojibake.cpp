// fix_mojibake: the same under every implementation, nothing left to do, never longer, and misread text comes back.
#include "text/mojibake.h"

#include <memory>
#include <string>

#include "fuzz/text_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace smolfast;
  static const fuzz::Transforms fix([] { return std::make_unique<text::MojibakeFixer>(); });
  const std::string input = fuzz::repaired(data, size);
  const std::string fixed = fix(input);
  fuzz::check(fixed.size() <= input.size(), "longer text");
  fuzz::check(fix(fixed) == fixed, "fixed twice");
  // Read as Latin-1, where that gives C1 control characters, which nobody writes.
  std::string misread;
  bool certain = false;
  for (const char c : fixed) {
    const auto byte = static_cast<unsigned char>(c);
    char encoded[4];
    misread.append(encoded, text::encode(byte, encoded));
    certain = certain || (byte >= 0x80 && byte < 0xA0);
  }
  const std::string back = fix(misread);
  // Only characters that the fixer reads back: leads F1, F2 and F4 it leaves.
  bool covered = true;
  for (const char c : fixed) covered = covered && c != '\xF1' && c != '\xF2' && c != '\xF4';
  if (certain && covered) fuzz::check(back == fixed, "misread text comes back");
  return 0;
}
