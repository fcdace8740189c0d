// String columns: reading Arrow's three layouts without a copy, and building one.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "arrow/abi.h"

namespace smolfast::arrow {

// Throws Error unless the schema is one of strings or binary.
void check_string_schema(const ArrowSchema& schema);

// The name of a layout as strings: "u", "U" or "vu", also for binary ("z", "Z", "vz"), as a constant.
const char* string_format(const ArrowSchema& schema);

// One chunk of strings, borrowed. Layouts: utf8 ("u", 32-bit offsets), large utf8 ("U", 64-bit offsets), string view
// ("vu"), the same of binary, and plain pointers (a Python list). Rows are counted from the slice's own start.
class StringColumn {
 public:
  // Checks the structs and every offset or view, so that operator[] can't leave the buffers; throws Error naming the
  // row. How long buffers are isn't in the structs (but for the blocks of views): the last offset has to be believed.
  StringColumn(const ArrowSchema& schema, const ArrowArray& array);
  // Borrowed strings; a null data pointer is a null row.
  explicit StringColumn(const std::vector<std::string_view>& rows);

  int64_t size() const { return size_; }
  bool is_null(int64_t row) const {
    if (rows_ != nullptr) return rows_[row].data() == nullptr;
    const int64_t at = row + offset_;
    return validity_ != nullptr && ((validity_[at >> 3] >> (at & 7)) & 1) == 0;
  }
  // The bytes of a row; empty for a null one.
  std::string_view operator[](int64_t row) const;
  // UTF-8 bytes in rows [begin, end), nulls included as nothing; O(1) for the offset layouts.
  int64_t bytes(int64_t begin, int64_t end) const;
  // The same without whatever the buffer holds under null rows.
  int64_t text_bytes(int64_t begin, int64_t end) const;
  // Whether rows lie side by side in one buffer (the offset layouts), and then the bytes of rows [begin, end), with
  // whatever the buffer holds under null rows.
  bool contiguous() const { return layout_ == Layout::kOffsets32 || layout_ == Layout::kOffsets64; }
  std::string_view span(int64_t begin, int64_t end) const;
  // Whether the layout needs 64-bit offsets when written with offsets: all but "u".
  bool wide() const { return layout_ != Layout::kOffsets32; }

 private:
  enum class Layout : uint8_t { kRows, kOffsets32, kOffsets64, kViews };

  Layout layout_ = Layout::kRows;
  int64_t size_ = 0;
  int64_t offset_ = 0;
  const uint8_t* validity_ = nullptr;
  const void* offsets_ = nullptr;        // int32_t or int64_t offsets, or 16-byte views
  const char* data_ = nullptr;           // offset layouts
  const void* const* blocks_ = nullptr;  // view layout
  const std::string_view* rows_ = nullptr;
};

// Contiguous row ranges of about `target_bytes` each, so that threads get even work and the split depends on the data
// only. Returns range starts followed by size().
std::vector<int64_t> split_rows(const StringColumn& column, int64_t target_bytes);

// Builds one large-utf8 array. Rows are appended as whole strings or written piecewise: write into data(), then
// finish_row().
class StringBuilder {
 public:
  void reserve(int64_t rows, int64_t bytes);
  void append(std::string_view row);
  void append_null();
  // For writers that produce a row in place.
  std::vector<char>& data() { return data_; }
  void finish_row();
  int64_t size() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  // Moves the buffers into an array and its schema that own them; the builder is empty after.
  void finish(ArrowArray* array, ArrowSchema* schema);

 private:
  std::vector<char> data_;
  std::vector<int64_t> offsets_{0};
  std::vector<uint8_t> validity_;  // empty until the first null
  int64_t nulls_ = 0;
};

// A dictionary-encoded chunk as large utf8, into `array` and `schema`; the same checks as StringColumn's, and of every
// index.
void decode_dictionary(const ArrowSchema& encoded_schema, const ArrowArray& encoded, ArrowArray* array,
                       ArrowSchema* schema);

}  // namespace smolfast::arrow
