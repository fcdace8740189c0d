// The phrases by which C4 drops lines and documents, found in any case in one walk over a line.
#pragma once

#include <cstdint>
#include <string_view>

namespace smolfast::filters {

constexpr unsigned kLoremIpsum = 1;
constexpr unsigned kJavascript = 2;
constexpr unsigned kPolicy = 4;  // "terms of use", "privacy policy" and four about cookies

// Which of them Python's str.lower of the text holds.
unsigned find_phrases(std::string_view text);

}  // namespace smolfast::filters
