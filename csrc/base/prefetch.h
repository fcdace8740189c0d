// Asking for memory before it is needed. Any address will do.
#pragma once

namespace smolfast {

// Brings a line into the first cache, to be read.
inline void prefetch_near(const void* at) {
#if defined(__GNUC__)
  __builtin_prefetch(at, 0, 3);
#else
  static_cast<void>(at);
#endif
}

// Brings a line into the second cache.
inline void prefetch(const void* at) {
#if defined(__GNUC__)
  __builtin_prefetch(at, 0, 2);
#else
  static_cast<void>(at);
#endif
}

// Brings a line into the first cache, to be written.
inline void prefetch_to_write(const void* at) {
#if defined(__GNUC__)
  __builtin_prefetch(at, 1, 3);
#else
  static_cast<void>(at);
#endif
}

}  // namespace smolfast
