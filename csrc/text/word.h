// A word as byte offsets into its text.
#pragma once

#include <cstdint>

namespace smolfast::text {

struct Word {
  uint32_t begin;
  uint32_t end;
};

}  // namespace smolfast::text
