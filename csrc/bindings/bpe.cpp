#include "bindings/bpe.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bindings/arrow_py.h"
#include "bpe/encoder.h"
#include "bpe/merges.h"
#include "bpe/word_counts.h"

namespace smolfast::bindings {
namespace {

void add_words(bpe::WordCounter& counter, const py::object& strings, int threads) {
  const ImportedStrings imported(strings, "strings");
  const py::gil_scoped_release unlocked;
  counter.add(imported.chunks(), imported.decoded(), threads);
}

std::vector<std::pair<uint32_t, uint32_t>> take_merges(bpe::WordCounter& counter, std::size_t tokens,
                                                       uint64_t least_times, std::size_t longest_token) {
  const py::gil_scoped_release unlocked;
  const bpe::WordCounts words = counter.take();
  return bpe::learn_merges(words, {tokens, least_times, longest_token});
}

// The words and how often each came, in no order.
py::dict take_words(bpe::WordCounter& counter) {
  const bpe::WordCounts words = counter.take();
  py::dict found;
  for (std::size_t i = 0; i < words.size(); ++i) {
    found[py::str(words.word(i).data(), words.word(i).size())] = words.times(i);
  }
  return found;
}

template <typename Number>
using Array = py::array_t<Number, py::array::c_style | py::array::forcecast>;

template <typename Number>
Array<Number> as_array(const std::vector<Number>& numbers) {
  return Array<Number>(static_cast<py::ssize_t>(numbers.size()), numbers.data());
}

bpe::Pattern pattern_of(const std::string& name) {
  if (name == "llama3") return bpe::Pattern::kLlama3;
  if (name == "qwen") return bpe::Pattern::kQwen;
  if (name == "gpt2") return bpe::Pattern::kGpt2;
  throw Error("pattern '" + name + "' is unknown; choose one of llama3, qwen, gpt2");
}

// `bytes`, uint32 [256]; `merges`, uint32 [M, 3]: first, second, and what they make. Names are bytes.
std::unique_ptr<bpe::Encoder> make_encoder(const std::string& pattern, const Array<uint32_t>& bytes,
                                           const Array<uint32_t>& merges, bpe::Names whole, bpe::Names added) {
  if (bytes.ndim() != 1 || bytes.size() != 256 || merges.ndim() != 2 || merges.shape(1) != 3) {
    throw Error("bytes and merges have other shapes than [256] and [M, 3]; give arrays of these");
  }
  bpe::EncoderOptions options{pattern_of(pattern), {}, {}, std::move(whole), std::move(added)};
  std::copy(bytes.data(), bytes.data() + 256, options.bytes.begin());
  for (py::ssize_t i = 0; i < merges.shape(0); ++i) {
    const uint32_t* const merge = merges.data(i, 0);
    options.merges.push_back({merge[0], merge[1], merge[2]});
  }
  const py::gil_scoped_release unlocked;
  return std::make_unique<bpe::Encoder>(options);
}

// The ids of all rows, where each row ends, and which rows were left.
py::tuple encode(bpe::Encoder& encoder, const py::object& strings, int threads) {
  const ImportedStrings imported(strings, "strings");
  bpe::EncodedRows found;
  {
    const py::gil_scoped_release unlocked;
    found = encoder.encode(imported.chunks(), imported.decoded(), threads);
  }
  Array<uint32_t> ids(static_cast<py::ssize_t>(found.size()));
  std::copy_n(found.ids.get(), found.size(), ids.mutable_data());
  py::tuple all = py::make_tuple(ids, as_array(found.ends), as_array(found.left));
  encoder.give_back(std::move(found));
  return all;
}

// Every token in the order of ids, as "ID CHARACTERS TOKEN\n": what a vocabulary is known by.
py::bytes write_vocabulary(const py::dict& vocab) {
  struct Token {
    uint64_t id;
    py::ssize_t characters;
    std::string_view name;
  };
  std::vector<Token> tokens;
  tokens.reserve(vocab.size());
  for (const auto& [name, id] : vocab) {
    py::ssize_t size = 0;
    const char* const data = PyUnicode_AsUTF8AndSize(name.ptr(), &size);
    if (data == nullptr) throw py::error_already_set();
    tokens.push_back({id.cast<uint64_t>(), PyUnicode_GetLength(name.ptr()), {data, static_cast<std::size_t>(size)}});
  }
  std::sort(tokens.begin(), tokens.end(), [](const Token& a, const Token& b) { return a.id < b.id; });
  std::string lines;
  for (const Token& token : tokens) {
    lines.append(std::to_string(token.id)).append(" ").append(std::to_string(token.characters)).append(" ");
    lines.append(token.name).append("\n");
  }
  return lines;
}

}  // namespace

void register_bpe(py::module_& m) {
  m.def("write_vocabulary", &write_vocabulary, py::arg("vocab"));
  py::class_<bpe::WordCounter>(m, "WordCounter")
      .def(py::init<int>(), py::arg("longest_word"))
      .def("add", &add_words, py::arg("strings"), py::arg("threads"))
      .def("take_words", &take_words)
      .def("take_merges", &take_merges, py::kw_only(), py::arg("tokens"), py::arg("least_times"),
           py::arg("longest_token"));
  py::class_<bpe::Encoder>(m, "BpeEncoder")
      .def(py::init(&make_encoder), py::kw_only(), py::arg("pattern"), py::arg("bytes"), py::arg("merges"),
           py::arg("whole"), py::arg("added"))
      .def("encode", &encode, py::arg("strings"), py::arg("threads"));
}

}  // namespace smolfast::bindings
