// A file mapped into memory, read-only: nothing is read before it is used, and processes share what is.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace smolfast::fasttext {

class MappedFile {
 public:
  MappedFile() = default;
  // Throws Error if the file can't be opened or mapped. Its size is fixed now: whoever shortens the file later ends the
  // process at the next read, as with every mapped file.
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::string_view bytes() const { return {data_, size_}; }

 private:
  const char* data_ = nullptr;
  std::size_t size_ = 0;
  std::vector<char> read_;  // where files can't be mapped
};

}  // namespace smolfast::fasttext
