// Text operations for fuzzing: repaired input, and a transform held once for each implementation.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz.h"
#include "text/transform.h"
#include "text/utf8.h"

namespace smolfast::fuzz {

// The input as valid UTF-8.
inline std::string repaired(const uint8_t* data, std::size_t size) {
  text::Buffer out;
  text::append_repaired(as_text(data, size), out);
  return std::string(out.view());
}

// One operation, made once for each implementation since that is chosen when it's made.
class Transforms {
 public:
  explicit Transforms(const text::TransformFactory& factory) {
    for (const Isa isa : supported_isas()) {
      use_isa(isa);
      made_.push_back({isa, factory()});
    }
  }

  // The text transformed: the same under every implementation, valid UTF-8, with what was in the buffer before kept,
  // and "nothing changes" said only where that's so.
  std::string operator()(std::string_view text) const {
    const std::vector<char> exact(text.begin(), text.end());  // no byte of room around it, for AddressSanitizer
    std::string expected;
    for (std::size_t i = 0; i < made_.size(); ++i) {
      use_isa(made_[i].isa);
      text::Buffer& out = out_;
      out.clear();
      out.append("before");
      const bool changed = made_[i].transform->run({exact.data(), exact.size()}, out);
      check(out.view().substr(0, 6) == "before", "what stood in the buffer was changed");
      check(changed || out.size() == 6, "something was written though nothing changes");
      const std::string_view result = changed ? out.view().substr(6) : text;
      if (i == 0) {
        check(text::is_valid_utf8(result), "the result is not UTF-8");
        expected = result;
      } else {
        check(result == expected, "implementations differ");
      }
    }
    return expected;
  }

 private:
  struct Made {
    Isa isa;
    std::unique_ptr<text::Transform> transform;
  };
  std::vector<Made> made_;
  mutable text::Buffer out_;
};

}  // namespace smolfast::fuzz
