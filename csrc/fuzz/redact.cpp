// redact: the same under every implementation; the two rules one after the other; nothing but addresses changed.
#include "text/redact.h"

#include <memory>
#include <string>

#include "fuzz/text_fuzz.h"

namespace {

using namespace smolfast;

fuzz::Transforms redactor(bool emails, bool ips, bool public_only) {
  return fuzz::Transforms([=] {
    return std::make_unique<text::Redactor>(
        text::RedactOptions{emails, ips, public_only, {"<e1>", "<e2>"}, {"<i1>", "<i2>", "<i3>"}});
  });
}

// Whether `redacted` is `input` with some stretches replaced by the replacements in turn: the text between those is
// found in the input in the same order.
bool keeps_the_rest(std::string_view input, std::string_view redacted) {
  std::size_t from = 0;
  while (true) {
    std::size_t mark = redacted.size();
    for (const char* replacement : {"<e1>", "<e2>", "<i1>", "<i2>", "<i3>"}) {
      mark = std::min(mark, redacted.find(replacement));
    }
    const std::size_t found = input.find(redacted.substr(0, mark), from);
    if (found == std::string_view::npos) return false;
    if (mark == redacted.size()) return true;
    from = found + mark;
    redacted.remove_prefix(mark + 4);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  static const fuzz::Transforms both = redactor(true, true, true);
  static const fuzz::Transforms emails = redactor(true, false, true);
  static const fuzz::Transforms ips = redactor(false, true, true);
  static const fuzz::Transforms every_ip = redactor(false, true, false);
  const std::string input = fuzz::repaired(data, size);
  const std::string without_emails = emails(input);
  fuzz::check(both(input) == ips(without_emails), "both rules");
  fuzz::check(keeps_the_rest(input, without_emails), "text besides e-mail addresses");
  fuzz::check(keeps_the_rest(input, ips(input)), "text besides public addresses");
  fuzz::check(keeps_the_rest(input, every_ip(input)), "text besides addresses");
  fuzz::check(input.find('@') != std::string::npos || without_emails == input, "no e-mail address");
  return 0;
}
