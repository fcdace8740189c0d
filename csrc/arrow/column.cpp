#include "arrow/column.h"

#include <cstring>
#include <memory>
#include <string>

#include "base/error.h"

namespace smolfast::arrow {
namespace {

// A string view of the "vu" layout: up to 12 bytes inline, longer ones in a numbered block.
struct View {
  int32_t length;
  char prefix[4];
  int32_t block;
  int32_t offset;
};
static_assert(sizeof(View) == 16);

std::string at_row(int64_t row) {
  return " at row " + std::to_string(row) + "; the Arrow column is corrupt";
}

[[noreturn]] void refuse(const std::string& what) {
  throw Error(what + "; the Arrow column is corrupt: check the library that made it");
}

// An Arrow format string as it may be shown: it can be of any length and hold any bytes.
std::string shown(std::string_view format) {
  std::string text(format.substr(0, 20));
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text + (format.size() > 20 ? "…" : "");
}

// No address space is larger than 2⁴⁷ bytes, so that neither is a buffer, and no place in one overflows.
constexpr int64_t kMostRows = int64_t{1} << 43;

void check_counts(const ArrowArray& array) {
  if (array.release == nullptr) refuse("the Arrow array was released");
  if (array.length < 0 || array.offset < 0) refuse("negative length or offset in the Arrow column");
  if (array.length > kMostRows || array.offset > kMostRows) refuse("a length or offset beyond any memory");
  if (array.null_count < -1 || array.null_count > array.length) {
    refuse(std::to_string(array.null_count) + " nulls in " + std::to_string(array.length) + " rows");
  }
}

void check_array(const ArrowArray& array, bool views) {
  check_counts(array);
  if (array.n_children != 0 || array.dictionary != nullptr) refuse("a string column with children");
  constexpr int64_t kMostBuffers = int64_t{1} << 31;  // blocks are numbered by an int32_t
  if (array.n_buffers < 3 || array.n_buffers > (views ? kMostBuffers : 3) || array.buffers == nullptr) {
    refuse("the Arrow column has " + std::to_string(array.n_buffers) + " buffers");
  }
}

template <typename Offset>
void check_offsets(const Offset* offsets, int64_t size, const char* data) {
  if (offsets[0] < 0) throw Error("negative string offset" + at_row(0));
  for (int64_t row = 0; row < size; ++row) {
    if (offsets[row + 1] < offsets[row]) throw Error("string offsets decrease" + at_row(row));
  }
  if (data == nullptr && offsets[size] > offsets[0]) refuse("the Arrow column has no data buffer");
}

}  // namespace

const char* string_format(const ArrowSchema& schema) {
  const std::string_view format = schema.format;
  if (format == "u" || format == "z") return "u";
  if (format == "U" || format == "Z") return "U";
  if (format == "vu" || format == "vz") return "vu";
  throw Error("expected a string column (Arrow format u, U or vu), got format '" + shown(format) +
              "'; cast it to string first");
}

void check_string_schema(const ArrowSchema& schema) {
  if (schema.release == nullptr) refuse("the Arrow schema was released");
  if (schema.format == nullptr) refuse("the Arrow schema has no format");
  if (schema.dictionary != nullptr) refuse("a dictionary of dictionaries");
  string_format(schema);
  if (schema.n_children != 0) refuse("a string column with children");
}

StringColumn::StringColumn(const std::vector<std::string_view>& rows)
    : size_(static_cast<int64_t>(rows.size())), rows_(rows.data()) {}

StringColumn::StringColumn(const ArrowSchema& schema, const ArrowArray& array)
    : size_(array.length), offset_(array.offset) {
  check_string_schema(schema);
  const std::string_view format = string_format(schema);
  check_array(array, format == "vu");
  layout_ = format == "u" ? Layout::kOffsets32 : format == "U" ? Layout::kOffsets64 : Layout::kViews;
  validity_ = array.null_count == 0 ? nullptr : static_cast<const uint8_t*>(array.buffers[0]);
  if (validity_ == nullptr && array.null_count > 0) refuse("the Arrow column has nulls and no bitmap of them");
  offsets_ = array.buffers[1];
  if (size_ == 0) return;
  if (offsets_ == nullptr) refuse("the Arrow column has no offsets buffer");
  if (layout_ == Layout::kOffsets32) {
    data_ = static_cast<const char*>(array.buffers[2]);
    check_offsets(static_cast<const int32_t*>(offsets_) + offset_, size_, data_);
  } else if (layout_ == Layout::kOffsets64) {
    data_ = static_cast<const char*>(array.buffers[2]);
    check_offsets(static_cast<const int64_t*>(offsets_) + offset_, size_, data_);
  } else {
    blocks_ = array.buffers + 2;
    const int64_t blocks = array.n_buffers - 3;
    const auto* lengths = static_cast<const int64_t*>(array.buffers[array.n_buffers - 1]);
    if (blocks > 0 && lengths == nullptr) refuse("the Arrow column doesn't say how long its blocks are");
    const View* views = static_cast<const View*>(offsets_) + offset_;
    for (int64_t row = 0; row < size_; ++row) {
      const View& view = views[row];
      if (is_null(row)) continue;
      if (view.length < 0) throw Error("negative string length" + at_row(row));
      if (view.length <= 12) continue;
      if (view.block < 0 || view.block >= blocks || view.offset < 0 ||
          int64_t{view.offset} + view.length > lengths[view.block] || blocks_[view.block] == nullptr) {
        throw Error("string view outside its buffer" + at_row(row));
      }
    }
  }
}

std::string_view StringColumn::operator[](int64_t row) const {
  if (layout_ == Layout::kRows) return rows_[row];
  if (is_null(row)) return {};
  const int64_t at = row + offset_;
  if (layout_ == Layout::kOffsets32) {
    const auto* offsets = static_cast<const int32_t*>(offsets_);
    return {data_ + offsets[at], static_cast<std::size_t>(offsets[at + 1] - offsets[at])};
  }
  if (layout_ == Layout::kOffsets64) {
    const auto* offsets = static_cast<const int64_t*>(offsets_);
    return {data_ + offsets[at], static_cast<std::size_t>(offsets[at + 1] - offsets[at])};
  }
  const View& view = static_cast<const View*>(offsets_)[at];
  const char* data = view.length <= 12 ? view.prefix : static_cast<const char*>(blocks_[view.block]) + view.offset;
  return {data, static_cast<std::size_t>(view.length)};
}

int64_t StringColumn::bytes(int64_t begin, int64_t end) const {
  if (begin >= end) return 0;
  if (layout_ == Layout::kOffsets32) {
    const auto* offsets = static_cast<const int32_t*>(offsets_) + offset_;
    return offsets[end] - offsets[begin];
  }
  if (layout_ == Layout::kOffsets64) {
    const auto* offsets = static_cast<const int64_t*>(offsets_) + offset_;
    return offsets[end] - offsets[begin];
  }
  int64_t total = 0;
  for (int64_t row = begin; row < end; ++row) total += static_cast<int64_t>((*this)[row].size());
  return total;
}

int64_t StringColumn::text_bytes(int64_t begin, int64_t end) const {
  if (contiguous() && validity_ == nullptr) return bytes(begin, end);
  int64_t total = 0;
  for (int64_t row = begin; row < end; ++row) total += static_cast<int64_t>((*this)[row].size());
  return total;
}

std::string_view StringColumn::span(int64_t begin, int64_t end) const {
  if (begin >= end) return {};
  if (layout_ == Layout::kOffsets32) {
    const auto* offsets = static_cast<const int32_t*>(offsets_) + offset_;
    return {data_ + offsets[begin], static_cast<std::size_t>(offsets[end] - offsets[begin])};
  }
  const auto* offsets = static_cast<const int64_t*>(offsets_) + offset_;
  return {data_ + offsets[begin], static_cast<std::size_t>(offsets[end] - offsets[begin])};
}

std::vector<int64_t> split_rows(const StringColumn& column, int64_t target_bytes) {
  std::vector<int64_t> starts{0};
  int64_t in_block = 0;
  for (int64_t row = 0; row < column.size(); ++row) {
    // A row costs something even when empty.
    in_block += column.bytes(row, row + 1) + 16;
    if (in_block >= target_bytes && row + 1 < column.size()) {
      starts.push_back(row + 1);
      in_block = 0;
    }
  }
  starts.push_back(column.size());
  return starts;
}

void StringBuilder::reserve(int64_t rows, int64_t bytes) {
  offsets_.reserve(static_cast<std::size_t>(rows) + 1);
  data_.reserve(static_cast<std::size_t>(bytes));
}

void StringBuilder::append(std::string_view row) {
  data_.insert(data_.end(), row.begin(), row.end());
  finish_row();
}

void StringBuilder::finish_row() {
  const std::size_t row = offsets_.size() - 1;
  offsets_.push_back(static_cast<int64_t>(data_.size()));
  if (!validity_.empty()) {
    if (row / 8 >= validity_.size()) validity_.push_back(0);
    validity_[row / 8] |= static_cast<uint8_t>(1u << (row % 8));
  }
}

void StringBuilder::append_null() {
  const std::size_t row = offsets_.size() - 1;
  if (validity_.empty()) {
    validity_.assign(row / 8 + 1, 0);
    for (std::size_t i = 0; i < row; ++i) validity_[i / 8] |= static_cast<uint8_t>(1u << (i % 8));
  } else if (row / 8 >= validity_.size()) {
    validity_.push_back(0);
  }
  offsets_.push_back(static_cast<int64_t>(data_.size()));
  ++nulls_;
}

namespace {

struct Owned {
  std::vector<char> data;
  std::vector<int64_t> offsets;
  std::vector<uint8_t> validity;
  const void* buffers[3];
};

}  // namespace

void StringBuilder::finish(ArrowArray* array, ArrowSchema* schema) {
  auto owned = std::make_unique<Owned>();
  owned->data = std::move(data_);
  owned->offsets = std::move(offsets_);
  owned->validity = std::move(validity_);
  // A non-null pointer even when there are no bytes: some readers insist.
  if (owned->data.capacity() == 0) owned->data.reserve(1);
  owned->buffers[0] = owned->validity.empty() ? nullptr : owned->validity.data();
  owned->buffers[1] = owned->offsets.data();
  owned->buffers[2] = owned->data.data();

  *array = {};
  array->length = static_cast<int64_t>(owned->offsets.size()) - 1;
  array->null_count = nulls_;
  array->n_buffers = 3;
  array->buffers = owned->buffers;
  array->private_data = owned.release();
  array->release = [](ArrowArray* self) {
    delete static_cast<Owned*>(self->private_data);
    self->release = nullptr;
  };

  *schema = {};
  schema->format = "U";
  schema->name = "";
  schema->flags = ARROW_FLAG_NULLABLE;
  schema->release = [](ArrowSchema* self) { self->release = nullptr; };

  data_ = {};
  offsets_ = {0};
  validity_ = {};
  nulls_ = 0;
}

namespace {

// Reads an index of any integer type; negative ones and those beyond any dictionary come out as −1.
using ReadIndex = int64_t (*)(const void* indices, int64_t at);

template <typename Index>
int64_t read_index(const void* indices, int64_t at) {
  const Index index = static_cast<const Index*>(indices)[at];
  return index > Index{0} && static_cast<uint64_t>(index) > static_cast<uint64_t>(kMostRows)
             ? -1
             : static_cast<int64_t>(index);
}

ReadIndex index_reader(std::string_view format) {
  if (format == "c") return read_index<int8_t>;
  if (format == "C") return read_index<uint8_t>;
  if (format == "s") return read_index<int16_t>;
  if (format == "S") return read_index<uint16_t>;
  if (format == "i") return read_index<int32_t>;
  if (format == "I") return read_index<uint32_t>;
  if (format == "l") return read_index<int64_t>;
  if (format == "L") return read_index<uint64_t>;
  refuse("a dictionary with indices of format '" + shown(format) + "'");
}

}  // namespace

void decode_dictionary(const ArrowSchema& encoded_schema, const ArrowArray& encoded, ArrowArray* array,
                       ArrowSchema* schema) {
  if (encoded_schema.release == nullptr) refuse("the Arrow schema was released");
  if (encoded_schema.format == nullptr) refuse("the Arrow schema has no format");
  const ReadIndex index = index_reader(encoded_schema.format);
  check_counts(encoded);
  if (encoded.n_children != 0 || encoded_schema.n_children != 0) refuse("a dictionary column with children");
  if (encoded.dictionary == nullptr) refuse("a dictionary column without a dictionary");
  if (encoded.n_buffers != 2 || encoded.buffers == nullptr) {
    refuse("the Arrow dictionary column has " + std::to_string(encoded.n_buffers) + " buffers");
  }
  const auto* validity = encoded.null_count == 0 ? nullptr : static_cast<const uint8_t*>(encoded.buffers[0]);
  if (validity == nullptr && encoded.null_count > 0) refuse("the Arrow column has nulls and no bitmap of them");
  if (encoded.length > 0 && encoded.buffers[1] == nullptr) refuse("the Arrow dictionary column has no indices");
  const StringColumn values(*encoded_schema.dictionary, *encoded.dictionary);
  StringBuilder builder;
  builder.reserve(encoded.length, 0);
  for (int64_t row = 0; row < encoded.length; ++row) {
    const int64_t at = row + encoded.offset;
    if (validity != nullptr && ((validity[at >> 3] >> (at & 7)) & 1) == 0) {
      builder.append_null();
      continue;
    }
    const int64_t value = index(encoded.buffers[1], at);
    if (value < 0 || value >= values.size()) throw Error("dictionary index out of range" + at_row(row));
    if (values.is_null(value)) {
      builder.append_null();
    } else {
      builder.append(values[value]);
    }
  }
  builder.finish(array, schema);
}

}  // namespace smolfast::arrow
