// Asking for memory before it is needed.
#pragma once

#include <cstdint>

namespace smolfast {

// Brings the line at an address into the second cache. Any address will do.
inline void prefetch(std::uintptr_t address) {
#if defined(__GNUC__)
  __builtin_prefetch(reinterpret_cast<const void*>(address), 0, 2);
#else
  static_cast<void>(address);
#endif
}

}  // namespace smolfast
