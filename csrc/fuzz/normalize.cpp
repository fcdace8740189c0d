// The four normalisation forms against the algorithm of the standard (Unicode §3.11, §3.12) in its plainest form.
#include "text/normalize.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/text_fuzz.h"

namespace {

using namespace smolfast;
using text::Form;

struct Item {
  uint32_t code;
  int combining_class;
};

void decompose(uint32_t code, bool compatibility, std::vector<Item>& out) {
  if (code >= 0xAC00 && code < 0xAC00 + 11172) {
    const uint32_t index = code - 0xAC00;
    out.push_back({0x1100 + index / 588, 0});
    out.push_back({0x1161 + index % 588 / 28, 0});
    if (index % 28 != 0) out.push_back({0x11A7 + index % 28, 0});
    return;
  }
  const text::NormRecord& record = text::norm_record(code);
  const int bytes = compatibility ? record.compatibility_bytes : record.canonical_bytes;
  if (bytes == 0) {
    out.push_back({code, record.combining_class});
    return;
  }
  const char* at =
      reinterpret_cast<const char*>(text::kDecompositions) + (compatibility ? record.compatibility : record.canonical);
  for (const char* const end = at + bytes; at < end;) {
    const text::Decoded c = text::decode(at);
    out.push_back({c.code, text::norm_record(c.code).combining_class});
    at += c.size;
  }
}

uint32_t pair(uint32_t first, uint32_t second) {
  if (first >= 0x1100 && first < 0x1113 && second >= 0x1161 && second < 0x1176) {
    return 0xAC00 + ((first - 0x1100) * 21 + (second - 0x1161)) * 28;
  }
  if (first >= 0xAC00 && first < 0xD7A4 && (first - 0xAC00) % 28 == 0 && second > 0x11A7 && second < 0x11C3) {
    return first + second - 0x11A7;
  }
  const text::NormRecord& a = text::norm_record(first);
  const text::NormRecord& b = text::norm_record(second);
  if (a.first == 0 || b.second == 0) return 0;
  const uint16_t value = text::kCompositions[a.first * text::kCompositionWidth + b.second];
  return value >= 0xC0 ? value : text::kSupplementaryCompositions[value];
}

std::string reference(std::string_view input, Form form) {
  std::vector<Item> items;
  for (const char* at = input.data(); at < input.data() + input.size();) {
    const text::Decoded c = text::decode(at);
    decompose(c.code, form == Form::kNfkc || form == Form::kNfkd, items);
    at += c.size;
  }
  for (bool swapped = true; swapped;) {
    swapped = false;
    for (std::size_t i = 1; i < items.size(); ++i) {
      if (items[i].combining_class != 0 && items[i - 1].combining_class > items[i].combining_class) {
        std::swap(items[i - 1], items[i]);
        swapped = true;
      }
    }
  }
  if (form == Form::kNfc || form == Form::kNfkc) {
    // D115 to D117: a character joins the last starter unless something between blocks it.
    std::vector<Item> kept;
    std::ptrdiff_t starter = -1;
    for (const Item& item : items) {
      const auto size = static_cast<std::ptrdiff_t>(kept.size());
      bool blocked = starter < 0;
      for (std::ptrdiff_t i = starter + 1; !blocked && i < size; ++i) {
        const int between = kept[static_cast<std::size_t>(i)].combining_class;
        blocked = between == 0 || between >= item.combining_class;
      }
      if (!blocked) {
        Item& base = kept[static_cast<std::size_t>(starter)];
        if (const uint32_t joined = pair(base.code, item.code)) {
          base.code = joined;
          continue;
        }
      }
      if (item.combining_class == 0) starter = size;
      kept.push_back(item);
    }
    items = std::move(kept);
  }
  std::string out;
  for (const Item& item : items) {
    char bytes[4];
    out.append(bytes, text::encode(item.code, bytes));
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  static const std::vector<std::pair<Form, fuzz::Transforms>> forms = [] {
    std::vector<std::pair<Form, fuzz::Transforms>> made;
    for (const Form form : {Form::kNfc, Form::kNfkc, Form::kNfd, Form::kNfkd}) {
      made.emplace_back(form, fuzz::Transforms([form] { return std::make_unique<text::Normalizer>(form); }));
    }
    return made;
  }();
  const std::string input = fuzz::repaired(data, size);
  for (const auto& [form, normalize] : forms) {
    const std::string expected = reference(input, form);
    fuzz::check(normalize(input) == expected, "the normal form");
    fuzz::check(normalize(expected) == expected, "normalised twice");
    const bool normalized = text::Normalizer(form).is_normalized(input);
    fuzz::check(normalized == (input == expected), "is_normalized");
  }
  return 0;
}
