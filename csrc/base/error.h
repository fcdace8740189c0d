// The core's one error type. Bindings turn it into smolfast.errors.SmolfastError (a ValueError).
#pragma once

#include <stdexcept>
#include <string>

namespace smolfast {

// `what()` says what was wrong and where; the message ends with the remedy.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace smolfast
