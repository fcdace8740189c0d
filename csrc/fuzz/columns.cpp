// Arrow columns: the same rows in every layout, sliced and chunked, come out the same whatever the implementation and
// the number of threads; columns whose offsets or views are nonsense are refused or stay inside their buffers.
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arrow/column.h"
#include "base/error.h"
#include "fuzz/text_fuzz.h"
#include "text/normalize.h"
#include "text/transform.h"

namespace {

using namespace smolfast;
using Rows = std::vector<std::optional<std::string>>;

// An Arrow array over buffers of exactly the right size.
struct Column {
  ArrowSchema schema{};
  ArrowArray array{};
  std::vector<uint8_t> validity;
  std::vector<char> offsets;  // or views
  std::vector<char> data;
  int64_t data_bytes = 0;
  const void* buffers[4];

  arrow::StringColumn open(const char* format, int64_t skipped, int64_t rows) {
    schema.format = format;
    schema.release = [](ArrowSchema*) {};
    array.release = [](ArrowArray*) {};
    array.offset = skipped;
    array.length = rows;
    array.null_count = -1;
    data_bytes = static_cast<int64_t>(data.size());
    buffers[0] = validity.empty() ? nullptr : validity.data();
    buffers[1] = offsets.data();
    buffers[2] = data.data();
    buffers[3] = &data_bytes;
    array.n_buffers = std::strcmp(format, "vu") == 0 ? 4 : 3;
    array.buffers = buffers;
    return arrow::StringColumn(schema, array);
  }

  template <typename T>
  void put(T value) {
    const auto* bytes = reinterpret_cast<const char*>(&value);
    offsets.insert(offsets.end(), bytes, bytes + sizeof(value));
  }
};

// The rows as a column of the layout, behind `skipped` rows that the slice leaves out.
void build(Column& column, const std::string& format, const Rows& rows, int64_t skipped) {
  Rows all(static_cast<std::size_t>(skipped), "skipped \xFF");
  all.insert(all.end(), rows.begin(), rows.end());
  column.validity.resize((all.size() + 7) / 8);
  const auto offset = [&] {
    if (format == "u") column.put(static_cast<int32_t>(column.data.size()));
    if (format == "U") column.put(static_cast<int64_t>(column.data.size()));
  };
  offset();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string text = all[i].value_or("");
    if (all[i]) column.validity[i / 8] |= static_cast<uint8_t>(1 << i % 8);
    if (format == "vu") {
      column.put(static_cast<int32_t>(text.size()));
      char inlined[12] = {};
      if (text.size() <= sizeof(inlined)) {
        if (!text.empty()) std::memcpy(inlined, text.data(), text.size());
      } else {
        const int32_t place[2] = {0, static_cast<int32_t>(column.data.size())};
        std::memcpy(inlined, text.data(), 4);
        std::memcpy(inlined + 4, place, sizeof(place));
        column.data.insert(column.data.end(), text.begin(), text.end());
      }
      column.offsets.insert(column.offsets.end(), inlined, inlined + sizeof(inlined));
    } else {
      column.data.insert(column.data.end(), text.begin(), text.end());
      offset();
    }
  }
}

// What transform_columns makes of the rows, or its error; offsets and validity read back.
struct Outcome {
  Rows rows;
  std::string error;
  bool operator==(const Outcome&) const = default;
};

Outcome transform(const std::vector<arrow::StringColumn>& chunks, text::InvalidUtf8 invalid, int threads) {
  const text::TransformOptions options{.threads = threads, .invalid = invalid};
  const text::TransformFactory factory = [] { return std::make_unique<text::Normalizer>(text::Form::kNfc); };
  Outcome outcome;
  try {
    const auto results = text::transform_columns(chunks, factory, options);
    for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
      const text::TransformedChunk& result = results[chunk];
      for (int64_t row = 0; row < chunks[chunk].size(); ++row) {
        if (!result.changed) {
          const bool null = chunks[chunk].is_null(row);
          outcome.rows.push_back(null ? std::nullopt : std::optional(std::string(chunks[chunk][row])));
          continue;
        }
        const auto at = [&](int64_t i) { return static_cast<std::size_t>(result.offset(i)); };
        fuzz::check(at(0) == 0 && at(row) <= at(row + 1) && at(row + 1) <= result.data.size(), "offsets");
        const bool null = result.nulls != 0 && (result.validity.data()[row >> 3] >> (row & 7) & 1) == 0;
        fuzz::check(null == chunks[chunk].is_null(row), "nulls");
        const std::string_view text = result.data.view().substr(at(row), at(row + 1) - at(row));
        outcome.rows.push_back(null ? std::nullopt : std::optional(std::string(text)));
      }
    }
  } catch (const Error& error) {
    outcome.error = error.what();
  }
  return outcome;
}

// Rows by a byte before each: 255 is null, else how many bytes follow.
Rows split(std::string_view input) {
  Rows rows;
  for (std::size_t at = 0; at < input.size();) {
    const auto length = static_cast<unsigned char>(input[at++]);
    if (length == 255) {
      rows.push_back(std::nullopt);
      continue;
    }
    rows.emplace_back(input.substr(at, length));
    at += length;
  }
  return rows;
}

void corrupt_columns(std::string_view input) {
  constexpr std::size_t kData = 16;
  if (input.size() < kData) return;
  for (const char* format : {"u", "U", "vu"}) {
    const std::string_view layout(format);
    const std::size_t width = layout == "u" ? 4 : layout == "U" ? 8 : 16;
    Column column;
    column.data.assign(input.begin(), input.begin() + kData);
    column.offsets.assign(input.begin() + kData, input.end());
    const std::size_t entries = column.offsets.size() / width;
    if (entries < 2) continue;
    if (layout != "vu") {
      // Arrow doesn't say how long the data is: a last offset beyond it can't be found out.
      int64_t last = 0;
      std::memcpy(&last, column.offsets.data() + (entries - 1) * width, width);
      last %= kData + 1;
      std::memcpy(column.offsets.data() + (entries - 1) * width, &last, width);
    }
    try {
      const arrow::StringColumn opened = column.open(format, 0, static_cast<int64_t>(entries) - (layout != "vu"));
      unsigned sum = 0;
      for (int64_t row = 0; row < opened.size(); ++row) {
        for (const char c : opened[row]) sum += static_cast<unsigned char>(c);
      }
      fuzz::check(sum < 1u << 31, "unreachable; keeps the reads");
    } catch (const Error&) {
    }
  }
}

}  // namespace

// The first byte: bit 0 errors="fail", bits 1 and 2 rows that a slice leaves out, all others set: three threads.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view input = fuzz::as_text(data + 1, size - 1);
  const text::InvalidUtf8 invalid = (data[0] & 1) != 0 ? text::InvalidUtf8::kFail : text::InvalidUtf8::kReplace;
  const int threads = data[0] >> 3 == 31 ? 3 : 1;
  const Rows rows = split(input);
  std::vector<std::string_view> pointers;
  for (const auto& row : rows) pointers.push_back(row ? std::string_view(*row) : std::string_view());
  const Outcome expected =
      fuzz::under_every_implementation([&] { return transform({arrow::StringColumn(pointers)}, invalid, 1); });
  fuzz::check(!expected.error.empty() || expected.rows.size() == rows.size(), "number of rows");
  const Rows first(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(rows.size() / 2));
  const Rows second(rows.begin() + static_cast<std::ptrdiff_t>(rows.size() / 2), rows.end());
  for (const char* format : {"u", "U", "vu"}) {
    Column columns[2];
    build(columns[0], format, first, data[0] >> 1 & 3);
    build(columns[1], format, second, 0);
    const std::vector<arrow::StringColumn> chunks{
        columns[0].open(format, data[0] >> 1 & 3, static_cast<int64_t>(first.size())),
        columns[1].open(format, 0, static_cast<int64_t>(second.size()))};
    fuzz::check(transform(chunks, invalid, threads) == expected, "another layout");
  }
  corrupt_columns(input);
  return 0;
}
