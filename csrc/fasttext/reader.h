// Reads a file's bytes in order; what lies beyond the end is an error that names what was wanted.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/error.h"

namespace smolfast::fasttext {

static_assert(std::endian::native == std::endian::little, "fastText's files are little-endian");

class Reader {
 public:
  Reader(std::string_view bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {}

  template <typename Number>
  Number number(const char* what) {
    Number value;
    std::memcpy(&value, take(sizeof value, 1, what), sizeof value);
    return value;
  }
  bool flag(const char* what) {
    const auto value = number<uint8_t>(what);
    if (value > 1) fail(std::string(what) + " is " + std::to_string(value) + ", not 0 or 1");
    return value != 0;
  }
  // The next count · size bytes.
  const char* take(int64_t size, int64_t count, const char* what) {
    if (count < 0 || size < 0 || (size != 0 && count > left() / size)) {
      fail(std::string(what) + " would need " + std::to_string(count) + " times " + std::to_string(size) +
           " bytes, and " + std::to_string(left()) + " are left");
    }
    const char* const at = bytes_.data() + at_;
    at_ += static_cast<std::size_t>(size * count);
    return at;
  }
  // Up to the next zero byte, which is passed over.
  std::string_view word(const char* what) {
    const std::size_t end = bytes_.find('\0', at_);
    if (end == std::string_view::npos) fail(std::string(what) + " has no end");
    const std::string_view found = bytes_.substr(at_, end - at_);
    at_ = end + 1;
    return found;
  }
  int64_t left() const { return static_cast<int64_t>(bytes_.size() - at_); }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(name_ + ": " + what + "; the file is damaged or no fastText model: download or make it again");
  }

 private:
  std::string_view bytes_;
  std::string name_;
  std::size_t at_ = 0;
};

}  // namespace smolfast::fasttext
