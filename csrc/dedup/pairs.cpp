#include "dedup/pairs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "dedup/clusters.h"

namespace smolfast::dedup {
namespace {

constexpr std::size_t kMostValues = 1u << 16;
constexpr int64_t kMostHashes = int64_t{1} << 45;  // of four bytes: no file or memory holds more

// Equal values of two signatures; two documents without shingles have nothing in common.
template <typename Value>
double agreement(const char* a, const char* b, std::size_t size) {
  std::size_t equal = 0;
  bool any = false;
  for (std::size_t k = 0; k < size; ++k) {
    Value x;
    Value y;
    std::memcpy(&x, a + k * sizeof(Value), sizeof(Value));
    std::memcpy(&y, b + k * sizeof(Value), sizeof(Value));
    equal += x == y;
    any |= x != static_cast<Value>(-1);
  }
  return any ? static_cast<double>(equal) / static_cast<double>(size) : 0.0;
}

}  // namespace

ByteStore::ByteStore(std::vector<std::span<const char>> pieces) : pieces_(std::move(pieces)) {
  uint64_t start = 0;
  for (const auto& piece : pieces_) {
    starts_.push_back(start);
    start += piece.size();
  }
}

ByteStore::ByteStore(const std::string& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status{};
  if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0)
    throw Error("can't read " + path + ": " + std::strerror(errno) + "; delete its folder and run again");
  bytes_ = static_cast<uint64_t>(status.st_size);
}

ByteStore::~ByteStore() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

const char* ByteStore::read(uint64_t begin, std::size_t size, std::vector<char>& scratch) const {
  if (descriptor_ < 0) {
    const auto piece =
        static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), begin) - starts_.begin());
    const uint64_t inside = piece == 0 ? 0 : begin - starts_[piece - 1];
    if (piece == 0 || inside > pieces_[piece - 1].size() || size > pieces_[piece - 1].size() - inside) {
      throw Error("a stored row lies outside its column; delete the work folder and run again");
    }
    return pieces_[piece - 1].data() + (begin - starts_[piece - 1]);
  }
  // Asked before memory is taken for a size that a damaged file may have given.
  if (begin > bytes_ || size > bytes_ - begin) {
    throw Error("can't read " + path_ + " at byte " + std::to_string(begin) +
                ": the file is too short; delete its folder and run again");
  }
  scratch.resize(size);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::pread(descriptor_, scratch.data() + done, size - done, static_cast<off_t>(begin + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      throw Error("can't read " + path_ + " at byte " + std::to_string(begin + done) + ": " +
                  (got == 0 ? "the file is too short" : std::strerror(errno)) + "; delete its folder and run again");
    }
    done += static_cast<std::size_t>(got);
  }
  return scratch.data();
}

SignaturePairs::SignaturePairs(const ByteStore& store, std::size_t size, int value_bytes)
    : store_(store), size_(size), value_bytes_(value_bytes) {
  if (size < 1 || size > kMostValues || (value_bytes != 4 && value_bytes != 8)) {
    throw Error("signatures of " + std::to_string(size) + " values of " + std::to_string(value_bytes) +
                " bytes; expected 1 to " + std::to_string(kMostValues) + " of 4 or 8");
  }
}

double Pairs::jaccard(uint32_t a, uint32_t b) const {
  thread_local std::vector<char> first;
  thread_local std::vector<char> second;
  const auto x = read(a, first);
  return jaccard(x, read(b, second));
}

std::span<const char> SignaturePairs::read(uint32_t document, std::vector<char>& scratch) const {
  const std::size_t bytes = size_ * static_cast<std::size_t>(value_bytes_);
  return {store_.read(uint64_t{document} * bytes, bytes, scratch), bytes};
}

double SignaturePairs::jaccard(std::span<const char> a, std::span<const char> b) const {
  return value_bytes_ == 8 ? agreement<uint64_t>(a.data(), b.data(), size_)
                           : agreement<uint32_t>(a.data(), b.data(), size_);
}

void SignaturePairs::keys(uint32_t document, int bands, int rows, std::vector<uint64_t>& keys) const {
  thread_local std::vector<char> scratch;
  const char* values = read(document, scratch).data();
  keys.resize(static_cast<std::size_t>(bands));
  if (value_bytes_ == 8) {
    band_keys(reinterpret_cast<const uint64_t*>(values), 1, size_, bands, rows, 1, keys.data());
  } else {
    band_keys(reinterpret_cast<const uint32_t*>(values), 1, size_, bands, rows, 1, keys.data());
  }
}

double BandPairs::jaccard(std::span<const char> a, std::span<const char> b) const {
  const std::size_t band = a.size() / signatures_.size() * static_cast<std::size_t>(rows_);
  bool shared = false;
  for (std::size_t i = 0; i < static_cast<std::size_t>(bands_) && !shared; ++i) {
    shared = std::memcmp(a.data() + i * band, b.data() + i * band, band) == 0;
  }
  // Two documents without shingles share all bands, and have nothing in common.
  return shared && signatures_.jaccard(a, b) > 0.0 ? 1.0 : 0.0;
}

std::span<const char> SetPairs::read(uint32_t document, std::vector<char>& scratch) const {
  if (document >= ends_.size()) {
    throw Error("document " + std::to_string(document) + " of " + std::to_string(ends_.size()) +
                "; give a smaller one");
  }
  const int64_t begin = document == 0 ? 0 : ends_[document - 1];
  if (begin < 0 || ends_[document] < begin || ends_[document] > kMostHashes) {
    throw Error("the ends of stored sets are damaged at document " + std::to_string(document) +
                "; delete the work folder and run again");
  }
  const auto bytes = static_cast<std::size_t>(ends_[document] - begin) * sizeof(uint32_t);
  if (bytes == 0) return {};
  return {store_.read(static_cast<uint64_t>(begin) * sizeof(uint32_t), bytes, scratch), bytes};
}

double SetPairs::jaccard(std::span<const char> a, std::span<const char> b) const {
  const std::span x(reinterpret_cast<const uint32_t*>(a.data()), a.size() / sizeof(uint32_t));
  const std::span y(reinterpret_cast<const uint32_t*>(b.data()), b.size() / sizeof(uint32_t));
  if (x.empty() || y.empty()) return 0.0;
  std::size_t shared = 0;
  for (std::size_t i = 0, j = 0; i < x.size() && j < y.size();) {
    shared += x[i] == y[j];
    const uint32_t at_x = x[i];
    const uint32_t at_y = y[j];
    i += at_x <= at_y;
    j += at_y <= at_x;
  }
  return static_cast<double>(shared) / static_cast<double>(x.size() + y.size() - shared);
}

}  // namespace smolfast::dedup
