// Numbers in memory that begins with a cache line, so that vectors never lie across two.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace smolfast {

struct FreeAligned {
  void operator()(float* memory) const { ::operator delete(memory, std::align_val_t{64}); }
};
using AlignedFloats = std::unique_ptr<float, FreeAligned>;

inline AlignedFloats aligned_floats(std::size_t count) {
  return AlignedFloats(static_cast<float*>(::operator new(count * sizeof(float), std::align_val_t{64})));
}

}  // namespace smolfast
