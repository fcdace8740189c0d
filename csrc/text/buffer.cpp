#include "text/buffer.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace smolfast::text {
namespace {

// From here on blocks are the system's own pages (Linux), moved without a copy when they grow. Smaller ones are better
// with the allocator, which keeps them: fresh pages cost more than the text operations do.
constexpr std::size_t kLarge = std::size_t{1} << 22;

#if defined(__linux__)
bool is_large(std::size_t capacity) {
  return capacity >= kLarge;
}

// In pages of 2 MiB where the system has them: filling pages of 4 KiB took a third to a half of the time of
// normalisation, and two threads at it wait for each other.
constexpr std::size_t kHugePage = std::size_t{1} << 21;

// Addresses for `bytes`, from a multiple of kHugePage on.
char* reserve_aligned(std::size_t bytes) {
  void* const reserved = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (reserved == MAP_FAILED) throw std::bad_alloc();
  char* const begin = static_cast<char*>(reserved);
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(begin) & (kHugePage - 1);
  constexpr std::size_t kPage = 4096;
  const std::size_t kept = (bytes + kPage - 1) & ~(kPage - 1);
  if (before != 0) munmap(begin, before);
  if (before + kept < bytes + kHugePage) munmap(begin + before + kept, bytes + kHugePage - before - kept);
  return begin + before;
}

char* system_resize(char* data, std::size_t from, std::size_t to) {
  if (from != 0 && to < from) {
    void* const shrunk = mremap(data, from, to, 0);
    if (shrunk == MAP_FAILED) throw std::bad_alloc();
    return data;
  }
  char* const aligned = reserve_aligned(to);
  if (from != 0 && mremap(data, from, to, MREMAP_MAYMOVE | MREMAP_FIXED, aligned) == MAP_FAILED) {
    munmap(aligned, to);
    throw std::bad_alloc();
  }
  madvise(aligned, to, MADV_HUGEPAGE);
  return aligned;
}

void system_free(char* data, std::size_t capacity) {
  munmap(data, capacity);
}
#else
bool is_large(std::size_t) {
  return false;
}
char* system_resize(char*, std::size_t, std::size_t) {
  throw std::bad_alloc();
}
void system_free(char*, std::size_t) {}
#endif

}  // namespace

void Buffer::reallocate(std::size_t capacity) {
  if (is_large(capacity_) && is_large(capacity)) {
    data_ = system_resize(data_, capacity_, capacity);
  } else if (is_large(capacity_) || is_large(capacity)) {
    char* moved = nullptr;
    if (is_large(capacity)) {
      moved = system_resize(nullptr, 0, capacity);
    } else if (capacity != 0) {
      moved = static_cast<char*>(std::malloc(capacity));
      if (moved == nullptr) throw std::bad_alloc();
    }
    if (size_ != 0 && capacity != 0) std::memcpy(moved, data_, std::min(size_, capacity));
    if (is_large(capacity_)) {
      system_free(data_, capacity_);
    } else {
      std::free(data_);
    }
    data_ = moved;
  } else if (capacity == 0) {
    std::free(data_);
    data_ = nullptr;
  } else {
    auto* moved = static_cast<char*>(std::realloc(data_, capacity));
    if (moved == nullptr) throw std::bad_alloc();
    data_ = moved;
  }
  capacity_ = capacity;
}

}  // namespace smolfast::text
