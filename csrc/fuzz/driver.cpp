// Runs a fuzz target where there is no libFuzzer: inputs are put together from the dictionary's pieces and mutated.
// Options as libFuzzer's, and like there, files given by name are run as they are:
//
//   fuzz_normalize -runs=100000 -seed=1 -max_len=128 -dict=csrc/fuzz/text.dict
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "fuzz/fuzz.h"

namespace {

std::string current;  // the input being run

void run(const std::string& input) {
  current = input;
  // A copy of exactly its size, so that AddressSanitizer sees reads beyond it.
  const std::vector<uint8_t> exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

void save_and_die(int) {
  std::ofstream("crash-input", std::ios::binary) << current;
  std::cerr << "the input is in ./crash-input\n";
  std::_Exit(1);
}

// A dictionary in libFuzzer's format: a line holds a "string" with \xHH, \\ and \" in it.
std::vector<std::string> read_dictionary(const std::string& path) {
  std::ifstream lines(path);
  if (!lines) {
    std::cerr << "can't read " << path << "\n";
    std::exit(2);
  }
  std::vector<std::string> pieces;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t begin = line.find('"');
    const std::size_t end = line.rfind('"');
    if (line.empty() || line[0] == '#' || begin == std::string::npos || end == begin) continue;
    std::string piece;
    for (std::size_t i = begin + 1; i < end; ++i) {
      if (line[i] != '\\') {
        piece += line[i];
      } else if (line[++i] == 'x') {
        piece += static_cast<char>(std::stoi(line.substr(i + 1, 2), nullptr, 16));
        i += 2;
      } else {
        piece += line[i];
      }
    }
    pieces.push_back(piece);
  }
  return pieces;
}

class Generator {
 public:
  Generator(uint64_t seed, std::size_t longest, std::vector<std::string> pieces)
      : random_(seed), longest_(longest), pieces_(std::move(pieces)) {}

  std::string next() {
    std::string input;
    input += below(2) == 0 ? '\0' : static_cast<char>(below(256));  // options stand first, 0 being the default
    if (below(2) == 0) input += static_cast<char>(below(2) == 0 ? 0 : below(256));
    constexpr std::size_t kCounts[] = {1, 3, 10, 40};
    for (std::size_t n = kCounts[below(4)]; n > 0; --n) {
      if (below(10) == 0 || pieces_.empty()) {
        for (std::size_t i = 1 + below(4); i > 0; --i) input += static_cast<char>(below(256));
      } else {
        const std::string& piece = pieces_[below(pieces_.size())];
        for (std::size_t times = below(8) == 0 ? 17 + below(20) : 1; times > 0; --times) input += piece;
      }
    }
    if (input.size() > longest_) input.resize(longest_);
    if (below(3) == 0) {
      for (std::size_t n = 1 + below(4); n > 0; --n) input[below(input.size())] = static_cast<char>(below(256));
    }
    return input;
  }

 private:
  std::size_t below(std::size_t limit) { return random_() % limit; }

  std::mt19937_64 random_;
  const std::size_t longest_;
  const std::vector<std::string> pieces_;
};

}  // namespace

int main(int argc, char** argv) {
  uint64_t runs = 100000;
  uint64_t seed = 1;
  std::size_t longest = 256;
  std::vector<std::string> pieces;
  std::signal(SIGABRT, save_and_die);
  bool files = false;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const std::size_t equals = argument.find('=');
    const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    if (argument.starts_with("-runs=")) {
      runs = std::stoull(value);
    } else if (argument.starts_with("-seed=")) {
      seed = std::stoull(value);
    } else if (argument.starts_with("-max_len=")) {
      longest = std::stoull(value);
    } else if (argument.starts_with("-dict=")) {
      pieces = read_dictionary(value);
    } else if (argument.starts_with("-")) {
      std::cerr << argument << " is unknown here; there are -runs, -seed, -max_len and -dict\n";
      return 2;
    } else {
      std::ifstream file(argument, std::ios::binary);
      run(std::string(std::istreambuf_iterator<char>(file), {}));
      files = true;
    }
  }
  if (files) return 0;
  run("");
  Generator generator(seed, longest, std::move(pieces));
  for (uint64_t n = 1; n < runs; ++n) run(generator.next());
  std::cerr << runs << " runs, no finding\n";
  return 0;
}
