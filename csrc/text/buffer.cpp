#include "text/buffer.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

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

// Large blocks lately given back, for the next ones: pages that the system must clear anew took as long as
// normalisation itself. The system may take their pages whenever it needs them (MADV_FREE).
class SpareBlocks {
 public:
  // A block of at least `bytes`, and not much more, or a null one.
  std::pair<char*, std::size_t> take(std::size_t bytes) {
    // Who can't have the lock at once (or, after a fork, ever) does without.
    const std::unique_lock<std::mutex> hold(lock_, std::try_to_lock);
    if (!hold) return {};
    for (auto block = blocks_.begin(); block != blocks_.end(); ++block) {
      if (block->second < bytes || block->second > bytes + bytes / 2) continue;
      const std::pair<char*, std::size_t> found = *block;
      kept_ -= found.second;
      blocks_.erase(block);
      return found;
    }
    return {};
  }

  // Whether the block is kept; else it's still the caller's.
  bool keep(char* data, std::size_t capacity) {
    if (capacity > kMost) return false;
    const std::unique_lock<std::mutex> hold(lock_, std::try_to_lock);
    if (!hold) return false;
    while (!blocks_.empty() && kept_ + capacity > kMost) {
      munmap(blocks_.front().first, blocks_.front().second);
      kept_ -= blocks_.front().second;
      blocks_.erase(blocks_.begin());
    }
    madvise(data, capacity, MADV_FREE);
    blocks_.emplace_back(data, capacity);
    kept_ += capacity;
    return true;
  }

  void release() {
    const std::lock_guard<std::mutex> hold(lock_);
    for (const auto& [data, capacity] : blocks_) munmap(data, capacity);
    blocks_.clear();
    kept_ = 0;
  }

 private:
  static constexpr std::size_t kMost = std::size_t{1} << 28;

  std::mutex lock_;
  std::vector<std::pair<char*, std::size_t>> blocks_;  // the oldest first
  std::size_t kept_ = 0;
};

SpareBlocks& spare_blocks() {
  static auto* const blocks = new SpareBlocks;  // never destroyed: buffers may outlive everything
  return *blocks;
}

// A new block of at least `capacity`, which becomes what it has.
char* system_take(std::size_t& capacity) {
  if (const auto [data, size] = spare_blocks().take(capacity); data != nullptr) {
    capacity = size;
    return data;
  }
  char* const data = reserve_aligned(capacity);
  madvise(data, capacity, MADV_HUGEPAGE);
  return data;
}

char* system_grow(char* data, std::size_t from, std::size_t to) {
  char* const aligned = reserve_aligned(to);
  if (mremap(data, from, to, MREMAP_MAYMOVE | MREMAP_FIXED, aligned) == MAP_FAILED) {
    munmap(aligned, to);
    throw std::bad_alloc();
  }
  madvise(aligned, to, MADV_HUGEPAGE);
  return aligned;
}

// Gives the pages past `size` back, and keeps the addresses, so that the block still serves the next one.
void system_trim(char* data, std::size_t size, std::size_t capacity) {
  const std::size_t used = (size + kHugePage - 1) & ~(kHugePage - 1);
  if (used < capacity) madvise(data + used, capacity - used, MADV_DONTNEED);
}

void system_free(char* data, std::size_t capacity) {
  if (!spare_blocks().keep(data, capacity)) munmap(data, capacity);
}
void system_release() {
  spare_blocks().release();
}
#else
bool is_large(std::size_t) {
  return false;
}
void system_release() {}
char* system_take(std::size_t&) {
  throw std::bad_alloc();
}
char* system_grow(char*, std::size_t, std::size_t) {
  throw std::bad_alloc();
}
void system_trim(char*, std::size_t, std::size_t) {}
void system_free(char*, std::size_t) {}
#endif

}  // namespace

void release_spare_blocks() {
  system_release();
}

void Buffer::shrink() {
  if (capacity_ <= size_ + size_ / 8 + kSlack) return;
  if (is_large(capacity_)) {
    system_trim(data_, size_ + kSlack, capacity_);
  } else {
    reallocate(size_ + kSlack);
  }
}

void Buffer::reallocate(std::size_t capacity) {
  if (is_large(capacity_) && is_large(capacity)) {
    data_ = system_grow(data_, capacity_, capacity);
  } else if (is_large(capacity_) || is_large(capacity)) {
    char* moved = nullptr;
    if (is_large(capacity)) {
      moved = system_take(capacity);
    } else if (capacity != 0) {
      moved = static_cast<char*>(std::malloc(capacity));
      if (moved == nullptr) throw std::bad_alloc();
    }
    if (size_ != 0 && moved != nullptr) std::memcpy(moved, data_, std::min(size_, capacity));
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
