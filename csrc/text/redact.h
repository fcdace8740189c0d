// E-mail addresses and public IPv4 addresses replaced, as FineWeb's formatter does (datatrove 0.10.1, PIIFormatter).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/transform.h"

namespace smolfast::text {

struct RedactOptions {
  bool emails = true;
  bool ips = true;
  bool public_only = true;  // leave private, reserved and documentation addresses (IANA's special-purpose registry)
  // Used in turn, from the first in every string, so that a string's result depends on nothing else.
  std::vector<std::string> email_replacements;
  std::vector<std::string> ip_replacements;
};

class Redactor final : public Transform {
 public:
  explicit Redactor(RedactOptions options) : options_(std::move(options)) {}
  bool run(std::string_view text, Buffer& out) override;

 private:
  bool redact_emails(std::string_view text, Buffer& out) const;
  bool redact_ips(std::string_view text, Buffer& out) const;

  const RedactOptions options_;
  Buffer without_emails_;
};

}  // namespace smolfast::text
