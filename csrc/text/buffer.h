// A growing byte buffer that doesn't clear what it hasn't written (std::vector would: one more pass over the output)
// and gives large blocks back to the system when it dies, or keeps a few for the next (the allocator would keep all,
// and peak memory would be doubled while the parts of an output are joined).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

namespace smolfast::text {

class Buffer {
 public:
  // Room kept past the end, so that writers may copy whole vectors.
  static constexpr std::size_t kSlack = 64;

  Buffer() = default;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() { reallocate(0); }

  char* data() { return data_; }
  const char* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t capacity() const { return capacity_; }
  std::string_view view() const { return {data_, size_}; }
  void clear() { size_ = 0; }

  // A place to write `bytes` more (and kSlack past them); commit() says how far was written.
  char* room(std::size_t bytes) {
    if (size_ + bytes + kSlack > capacity_) grow(size_ + bytes + kSlack);
    return data_ + size_;
  }
  void commit(const char* end) { size_ = static_cast<std::size_t>(end - data_); }
  void append(const char* from, std::size_t bytes) {
    char* to = room(bytes);
    if (bytes != 0) std::memcpy(to, from, bytes);
    size_ += bytes;
  }
  void append(std::string_view text) { append(text.data(), text.size()); }
  // Gives the memory past the end back where growing took much too much.
  void shrink();

 private:
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }
  void grow(std::size_t least) { reallocate(least > capacity_ + capacity_ / 2 ? least : capacity_ + capacity_ / 2); }
  void reallocate(std::size_t capacity);

  char* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

// Gives the large blocks kept for the next buffers back to the system.
void release_spare_blocks();

}  // namespace smolfast::text
