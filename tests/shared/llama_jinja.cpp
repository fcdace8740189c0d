// Renders chat templates with llama.cpp's own Jinja engine: a line of JSON {template, input} in, a JSON text or
// {"error": …} out. tests/check_chats.py compiles it against a source tree of llama.cpp.

#include <cstdlib>
#include <exception>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "jinja/lexer.h"
#include "jinja/parser.h"
#include "jinja/runtime.h"
#include "jinja/value.h"
#include "json.h"

// llama.cpp's checks end here; the rest of ggml isn't needed.
extern "C" void ggml_abort(const char* file, int line, const char*, ...) {
  std::cerr << file << ":" << line << ": aborted" << std::endl;
  std::abort();
}

namespace {

struct Compiled {
  std::string source;
  jinja::program program;
};

const Compiled& compile(const std::string& text) {
  static std::map<std::string, std::unique_ptr<Compiled>> known;
  auto& found = known[text];
  if (!found) {
    jinja::lexer lexer;
    auto tokens = lexer.tokenize(text);
    found = std::make_unique<Compiled>(Compiled{tokens.source, jinja::parse_from_tokens(tokens)});
  }
  return *found;
}

std::string render(const nlohmann::ordered_json& line) {
  const Compiled& compiled = compile(line.at("template"));
  jinja::context context(compiled.source);
  jinja::global_from_json(context, common_json::parse(line.at("input").dump()), false);
  jinja::runtime runtime(context);
  return jinja::runtime::gather_string_parts(runtime.execute(compiled.program))->as_string().str();
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    nlohmann::ordered_json out;
    try {
      out = render(nlohmann::ordered_json::parse(line));
    } catch (const std::exception& error) {
      out = {{"error", error.what()}};
    }
    std::cout << out.dump() << std::endl;
  }
}
