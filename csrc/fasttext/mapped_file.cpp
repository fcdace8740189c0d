#include "fasttext/mapped_file.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#define SMOLFAST_MMAP 1
#else
#include <fstream>
#include <iterator>
#endif

namespace smolfast::fasttext {

#if defined(SMOLFAST_MMAP)

MappedFile::MappedFile(const std::string& path) {
  const auto fail = [&](const char* doing) {
    throw Error(path + ": can't be " + doing + " (" + std::strerror(errno) + "); give the path of a fastText model");
  };
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail("opened");
  struct stat status{};
  if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(file);
    throw Error(path + ": is not a file; give the path of a fastText model");
  }
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ != 0) {
    void* const at = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file, 0);
    if (at == MAP_FAILED) {
      ::close(file);
      fail("mapped into memory");
    }
    data_ = static_cast<const char*>(at);
  }
  ::close(file);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

#else

MappedFile::MappedFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(path + ": can't be opened; give the path of a fastText model");
  read_.assign(std::istreambuf_iterator<char>(in), {});
  data_ = read_.data();
  size_ = read_.size();
}

MappedFile::~MappedFile() = default;

#endif

MappedFile::MappedFile(MappedFile&& other) noexcept {
  *this = std::move(other);
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  read_.swap(other.read_);
  return *this;
}

}  // namespace smolfast::fasttext
