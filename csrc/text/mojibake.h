// UTF-8 that was read as Windows-1252 or Latin-1, read back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/transform.h"

namespace smolfast::text {

// A stretch of characters is a candidate if their bytes in Latin-1, or in Windows-1252 with its five holes filled as
// the WHATWG does, are well-formed UTF-8 outside ASCII. It is read back where it's certain that nobody wrote it so: it
// holds a C1 control character or one of the neighbourhoods that ftfy 6.3 calls bad (its rules for these two
// encodings), or all of the text outside ASCII is candidates of one encoding and the text is bad anywhere. Then again,
// for text that was misread twice. Text of other encodings, with spaces for no-break spaces, or with U+FFFD for lost
// bytes, stays.
class MojibakeFixer final : public Transform {
 public:
  bool run(std::string_view text, Buffer& out) override;

 private:
  // Candidates of the text, in order; and whether they are all of it outside ASCII.
  struct Segment {
    std::size_t begin;
    std::size_t end;
  };
  bool fix_once(std::string_view text, Buffer& out);

  std::vector<Segment> segments_;
  Buffer first_;
  Buffer second_;
};

}  // namespace smolfast::text
