// What every text operation is: a function from one string to another, applied to the rows of a column.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "arrow/column.h"
#include "text/buffer.h"

namespace smolfast::text {

// One operation with its scratch memory; each thread has its own.
class Transform {
 public:
  virtual ~Transform() = default;
  // Appends the transformed text to `out` and says true; or says false and leaves `out` as it was when nothing changes.
  // The text is valid UTF-8.
  virtual bool run(std::string_view text, Buffer& out) = 0;
  // The same for a text that nobody has checked, where one pass can check it and do the rest: what run() would say.
  // Nothing if it can't, or if the text may be broken; `out` is then as it was.
  virtual std::optional<bool> run_unchecked(std::string_view /*text*/, Buffer& /*out*/) { return std::nullopt; }
};

using TransformFactory = std::function<std::unique_ptr<Transform>()>;

// One chunk of the output.
struct TransformedChunk {
  bool changed = false;  // false: the input chunk is the output, and nothing follows
  Buffer data;
  Buffer offsets;    // int32_t or int64_t, rows + 1 of them
  Buffer validity;   // a bit a row; empty if there are no nulls
  bool wide = true;  // offsets are int64_t
  int64_t rows = 0;
  int64_t nulls = 0;

  int64_t offset(int64_t row) const;
};

enum class InvalidUtf8 { kFail, kReplace };

struct TransformOptions {
  int threads = 0;
  InvalidUtf8 invalid = InvalidUtf8::kFail;
  bool known_valid = false;   // the rows come from a decoder and needn't be checked
  bool always_build = false;  // build the output even where nothing changes
  // How the error about a row that isn't UTF-8 ends.
  const char* remedy = "pass errors=\"replace\" to put U+FFFD there, or repair the column";
};

// Applies the operation to every row of every chunk. Null rows stay null. Output offsets are 32-bit where the input's
// are and the bytes allow it. Throws Error with row and byte offset for a row that isn't UTF-8, unless it's to be
// replaced as the WHATWG decoder does. The result doesn't depend on `threads`.
std::vector<TransformedChunk> transform_columns(const std::vector<arrow::StringColumn>& chunks,
                                                const TransformFactory& factory, const TransformOptions& options);

// Gives back what transform_columns keeps from one call to the next: up to 256 MiB of outputs that were freed, and 32
// MiB of tasks' buffers.
void release_kept_memory();

}  // namespace smolfast::text
