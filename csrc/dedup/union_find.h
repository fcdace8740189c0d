// Disjoint sets that many threads merge at once, with one answer whatever the order: a set's root is its least member.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace smolfast::dedup {

// Lock-free (Anderson and Woll, STOC 1991): a root is linked below a smaller root by compare-and-swap, finds halve
// their paths.
class UnionFind {
 public:
  explicit UnionFind(uint32_t size) : size_(size), parents_(std::make_unique<std::atomic<uint32_t>[]>(size)) {
    for (uint32_t i = 0; i < size; ++i) parents_[i].store(i, std::memory_order_relaxed);
  }

  uint32_t size() const { return size_; }

  uint32_t find(uint32_t item) {
    for (;;) {
      uint32_t parent = parents_[item].load(std::memory_order_relaxed);
      if (parent == item) return item;
      const uint32_t above = parents_[parent].load(std::memory_order_relaxed);
      if (above == parent) return parent;
      // Losing this race is harmless: somebody else shortened the path.
      parents_[item].compare_exchange_weak(parent, above, std::memory_order_relaxed);
      item = above;
    }
  }

  void unite(uint32_t a, uint32_t b) {
    for (;;) {
      a = find(a);
      b = find(b);
      if (a == b) return;
      if (a < b) std::swap(a, b);
      uint32_t expected = a;
      if (parents_[a].compare_exchange_strong(expected, b, std::memory_order_relaxed)) return;
    }
  }

 private:
  uint32_t size_;
  std::unique_ptr<std::atomic<uint32_t>[]> parents_;
};

}  // namespace smolfast::dedup
