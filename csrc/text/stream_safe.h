// The Stream-Safe Text Format (UAX #15, section 13): no more than 30 nonstarters in a row.
#pragma once

#include <string_view>

#include "text/buffer.h"

namespace smolfast::text {

// Appends `text` with U+034F COMBINING GRAPHEME JOINER put in (the Stream-Safe Text Process, UAX15-D4) and says true;
// or says false and leaves `out` as it was if it is in the format already. The text is valid UTF-8.
bool make_stream_safe(std::string_view text, Buffer& out);

}  // namespace smolfast::text
