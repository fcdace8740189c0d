// Lines of symbols alone go, or become a line of the user's: datatrove's SymbolLinesFormatter.
#include "filters/characters.h"
#include "filters/filter.h"

namespace smolfast::filters {
namespace {

class SymbolLines final : public Filter {
 public:
  explicit SymbolLines(const SymbolLinesRules& rules)
      : replacement_(rules.replace_char),
        symbols_(rules.symbols_to_remove ? CharacterSet(*rules.symbols_to_remove) : symbols()) {}

  std::vector<std::string> reasons() const override { return {}; }
  std::vector<std::string> signals() const override { return {}; }
  bool rewrites() const override { return true; }

  void judge(Document& document, Verdict&) override {
    text::Buffer& draft = document.draft();
    bool first = true;
    const auto write = [&](std::string_view line) {
      if (!first) draft.append("\n");
      first = false;
      draft.append(line);
    };
    bool removed = false;  // the line before was
    document.each_line([&](std::string_view line) {
      if (!is_symbols(line)) {
        write(line);
        removed = false;
      } else if (!removed) {
        if (!replacement_.empty()) write(replacement_);
        removed = true;
      }
      return true;
    });
    document.take_draft(false);
  }

 private:
  // Symbols and spaces, and not white space alone.
  bool is_symbols(std::string_view line) const {
    bool blank = true;
    const char* const end = line.data() + line.size();
    for (const char* at = line.data(); at < end;) {
      const text::Decoded c = text::decode(at);
      if (c.code != ' ' && !symbols_.contains(c.code)) return false;
      blank = blank && is_space(c.code);
      at += c.size;
    }
    return !blank;
  }

  const std::string replacement_;
  const CharacterSet symbols_;
};

}  // namespace

std::unique_ptr<Filter> make_symbol_lines(const SymbolLinesRules& rules) {
  return std::make_unique<SymbolLines>(rules);
}

}  // namespace smolfast::filters
