// Numbers in memory that begins with a cache line, so that vectors never lie across two.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace smolfast {

struct FreeAligned {
  void operator()(float* memory) const { ::operator delete(memory, std::align_val_t{64}); }
};
using AlignedFloats = std::unique_ptr<float, FreeAligned>;

inline AlignedFloats aligned_floats(std::size_t count) {
  return AlignedFloats(static_cast<float*>(::operator new(count * sizeof(float), std::align_val_t{64})));
}

// The same for a table that is read all over: one of megabytes in large pages where the system has them, so that an
// address is found at once.
constexpr std::size_t kLargePage = std::size_t{2} << 20;
struct FreeTable {
  std::align_val_t alignment{64};
  void operator()(float* memory) const { ::operator delete(memory, alignment); }
};
using TableOfFloats = std::unique_ptr<float, FreeTable>;

inline TableOfFloats table_of_floats(std::size_t count) {
  const std::size_t bytes = count * sizeof(float);
  const auto alignment = static_cast<std::align_val_t>(bytes < kLargePage ? 64 : kLargePage);
  TableOfFloats table(static_cast<float*>(::operator new(bytes, alignment)), FreeTable{alignment});
#if defined(__linux__)
  if (bytes >= kLargePage) madvise(table.get(), bytes, MADV_HUGEPAGE);
#endif
  return table;
}

}  // namespace smolfast
