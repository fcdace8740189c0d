#include "bindings/dedup.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "bindings/arrow_py.h"
#include "bindings/spacy_rules.h"
#include "dedup/clusters.h"
#include "dedup/digests.h"
#include "dedup/lines.h"
#include "dedup/minhasher.h"
#include "dedup/pairs.h"
#include "dedup/star.h"
#include "text/utf8.h"

namespace smolfast::bindings {
namespace {

using dedup::MinHashConfig;
using dedup::MinHasher;
using dedup::Workspace;
using Keys = py::array_t<uint64_t, py::array::c_style>;

// A part of a column small enough to share out evenly.
struct Block {
  const arrow::StringColumn* column;
  int64_t begin;
  int64_t end;
  int64_t first;  // row number of `begin` over all chunks
};

std::vector<Block> blocks_of(const ImportedStrings& strings) {
  constexpr int64_t kTargetBytes = 256 << 10;
  std::vector<Block> blocks;
  int64_t first = 0;
  for (const auto& column : strings.chunks()) {
    const std::vector<int64_t> starts = arrow::split_rows(column, kTargetBytes);
    for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
      if (starts[i] < starts[i + 1]) blocks.push_back({&column, starts[i], starts[i + 1], first + starts[i]});
    }
    first += column.size();
  }
  return blocks;
}

// A row of the caller's, whose bytes nobody has checked unless they come from str objects.
std::string_view checked_row(const ImportedStrings& strings, const Block& block, int64_t row) {
  const std::string_view text = (*block.column)[row];
  if (!strings.decoded() && !text::is_valid_utf8(text)) {
    throw Error("strings: row " + std::to_string(block.first + row - block.begin) + " is not UTF-8 at byte " +
                std::to_string(text::first_invalid_byte(text)) + "; repair the column");
  }
  return text;
}

dedup::Scheme parse_scheme(const std::string& name) {
  if (name == "fast") return dedup::Scheme::kFast;
  if (name == "classic") return dedup::Scheme::kClassic;
  if (name == "datasketch") return dedup::Scheme::kDatasketch;
  if (name == "datatrove") return dedup::Scheme::kDatatrove;
  throw Error("scheme '" + name + "' is unknown; use fast, classic, datasketch or datatrove");
}

dedup::TokenKind parse_tokens(const std::string& name) {
  if (name == "unicode") return dedup::TokenKind::kUnicode;
  if (name == "whitespace") return dedup::TokenKind::kWhitespace;
  if (name == "char") return dedup::TokenKind::kChar;
  if (name == "spacy") return dedup::TokenKind::kSpacy;
  throw Error("tokens '" + name + "' is unknown; use unicode, whitespace, char or spacy");
}

dedup::Digest parse_digest(const std::string& name) {
  if (name == "sha1") return dedup::Digest::kSha1;
  if (name == "xxh32") return dedup::Digest::kXxh32;
  if (name == "xxh64") return dedup::Digest::kXxh64;
  throw Error("hash '" + name + "' is unknown; use sha1, xxh32 or xxh64");
}

std::unique_ptr<MinHasher> make_hasher(uint32_t size, int ngram, const std::string& tokens, const std::string& language,
                                       const std::string& scheme, const std::string& digest, bool simplify,
                                       uint64_t seed, std::vector<uint64_t> a, std::vector<uint64_t> b) {
  MinHashConfig config;
  config.simplify = simplify;
  config.size = size;
  config.ngram = ngram;
  config.tokens = parse_tokens(tokens);
  if (config.tokens == dedup::TokenKind::kSpacy) config.rules = &spacy_rules(language);
  config.scheme = parse_scheme(scheme);
  config.digest = parse_digest(digest);
  config.seed = seed;
  config.a = std::move(a);
  config.b = std::move(b);
  return std::make_unique<MinHasher>(std::move(config));
}

py::array sign(const MinHasher& hasher, const py::object& source, int threads) {
  const ImportedStrings strings(source, "strings");
  const auto rows = static_cast<py::ssize_t>(strings.size());
  const auto size = static_cast<py::ssize_t>(hasher.config().size);
  const bool wide = hasher.value_bytes() == 8;
  py::array signatures(wide ? py::dtype::of<uint64_t>() : py::dtype::of<uint32_t>(),
                       std::vector<py::ssize_t>{rows, size});
  auto* out = static_cast<char*>(signatures.mutable_data());
  const auto stride = static_cast<std::size_t>(size) * static_cast<std::size_t>(hasher.value_bytes());
  {
    const py::gil_scoped_release release;
    const std::vector<Block> blocks = blocks_of(strings);
    parallel_for(blocks.size(), threads, [&](std::size_t i) {
      thread_local Workspace workspace;
      const Block& block = blocks[i];
      for (int64_t row = block.begin; row < block.end; ++row) {
        const auto at = static_cast<std::size_t>(block.first + row - block.begin);
        hasher.sign(checked_row(strings, block, row), workspace, out + at * stride);
      }
    });
  }
  return signatures;
}

py::tuple shingles(const MinHasher& hasher, const py::object& source, int threads) {
  const ImportedStrings strings(source, "strings");
  const auto rows = static_cast<std::size_t>(strings.size());
  py::array_t<int64_t> offsets(static_cast<py::ssize_t>(rows + 1));
  int64_t* starts = offsets.mutable_data();
  std::vector<std::vector<uint64_t>> sets(rows);
  {
    const py::gil_scoped_release release;
    const std::vector<Block> blocks = blocks_of(strings);
    parallel_for(blocks.size(), threads, [&](std::size_t i) {
      thread_local Workspace workspace;
      const Block& block = blocks[i];
      for (int64_t row = block.begin; row < block.end; ++row) {
        sets[static_cast<std::size_t>(block.first + row - block.begin)] =
            hasher.shingles(checked_row(strings, block, row), workspace);
      }
    });
    starts[0] = 0;
    for (std::size_t row = 0; row < rows; ++row) starts[row + 1] = starts[row] + static_cast<int64_t>(sets[row].size());
  }
  py::array_t<uint64_t> values(static_cast<py::ssize_t>(starts[rows]));
  uint64_t* out = values.mutable_data();
  for (const auto& set : sets) {
    if (!set.empty()) std::memcpy(out, set.data(), set.size() * sizeof(uint64_t));
    out += set.size();
  }
  return py::make_tuple(offsets, values);
}

py::tuple hash_texts(const py::object& source, bool simplify, int threads) {
  const ImportedStrings strings(source, "strings");
  const auto rows = static_cast<py::ssize_t>(strings.size());
  py::array_t<uint64_t> hashes(std::vector<py::ssize_t>{2, rows});
  py::array_t<int64_t> lengths(rows);
  uint64_t* high = hashes.mutable_data();
  uint64_t* low = high + rows;
  int64_t* length = lengths.mutable_data();
  {
    const py::gil_scoped_release release;
    const std::vector<Block> blocks = blocks_of(strings);
    parallel_for(blocks.size(), threads, [&](std::size_t i) {
      thread_local Workspace workspace;
      const Block& block = blocks[i];
      for (int64_t row = block.begin; row < block.end; ++row) {
        const std::string_view text = (*block.column)[row];
        std::string_view compared = text;
        if (simplify) {
          workspace.simplified.clear();
          workspace.simplifier.append(checked_row(strings, block, row), workspace.simplified);
          // Texts of which nothing is left have nothing else in common.
          if (!workspace.simplified.view().empty()) compared = workspace.simplified.view();
        }
        const auto [first, second] = dedup::hash_text(compared);
        const int64_t at = block.first + row - block.begin;
        high[at] = first == dedup::kNoKey ? first - 1 : first;
        low[at] = second;
        length[at] = static_cast<int64_t>(text.size());
      }
    });
  }
  return py::make_tuple(hashes, lengths);
}

// ends [rows] and hashes of the lines of at least `least` bytes.
py::tuple hash_lines(const py::object& source, std::size_t least, int threads) {
  const ImportedStrings strings(source, "strings");
  const auto rows = static_cast<std::size_t>(strings.size());
  py::array_t<int64_t> ends(static_cast<py::ssize_t>(rows));
  int64_t* end = ends.mutable_data();
  std::vector<std::vector<uint64_t>> parts;
  int64_t total = 0;
  {
    const py::gil_scoped_release release;
    const std::vector<Block> blocks = blocks_of(strings);
    parts.resize(blocks.size());
    parallel_for(blocks.size(), threads, [&](std::size_t i) {
      const Block& block = blocks[i];
      for (int64_t row = block.begin; row < block.end; ++row) {
        dedup::hash_lines((*block.column)[row], least, parts[i]);
        end[block.first + row - block.begin] = static_cast<int64_t>(parts[i].size());
      }
    });
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const int64_t size = blocks[i].end - blocks[i].begin;
      for (int64_t row = 0; row < size; ++row) end[blocks[i].first + row] += total;
      total += static_cast<int64_t>(parts[i].size());
    }
  }
  Keys hashes(total);
  uint64_t* out = hashes.mutable_data();
  for (const auto& part : parts) {
    if (!part.empty()) std::memcpy(out, part.data(), part.size() * sizeof(uint64_t));
    out += part.size();
  }
  return py::make_tuple(ends, hashes);
}

// The strings without the lines, of those of at least `least` bytes, whose flag isn't 0.
py::object drop_lines(const py::object& source, std::size_t least,
                      const py::array_t<uint8_t, py::array::c_style>& drop) {
  const ImportedStrings strings(source, "strings");
  const uint8_t* flags = drop.data();
  auto left = static_cast<std::size_t>(drop.size());
  arrow::StringBuilder builder;
  {
    const py::gil_scoped_release release;
    for (const auto& column : strings.chunks()) {
      for (int64_t row = 0; row < column.size(); ++row) {
        if (dedup::count_lines(column[row], least) > left) throw Error("drop: fewer flags than lines");
        const std::size_t lines = dedup::drop_lines(column[row], least, flags, builder.data());
        builder.finish_row();
        flags += lines;
        left -= lines;
      }
    }
  }
  return export_strings(builder);
}

void check_bands(int bands, int rows, int64_t size) {
  if (bands < 1 || rows < 1 || int64_t{bands} * rows > size) {
    throw Error("bands × rows = " + std::to_string(int64_t{bands} * rows) + " must be from 1 to the " +
                std::to_string(size) + " hashes of a signature");
  }
}

Keys band_keys(const py::array& signatures, int bands, int rows, int threads) {
  if (signatures.ndim() != 2 || !(signatures.flags() & py::array::c_style)) {
    throw Error("signatures: expected a C-contiguous array [documents, hashes]");
  }
  check_bands(bands, rows, signatures.shape(1));
  const auto documents = static_cast<std::size_t>(signatures.shape(0));
  const auto size = static_cast<std::size_t>(signatures.shape(1));
  Keys keys(std::vector<py::ssize_t>{bands, signatures.shape(0)});
  uint64_t* out = keys.mutable_data();
  const bool narrow = signatures.dtype().is(py::dtype::of<uint32_t>());
  if (!narrow && !signatures.dtype().is(py::dtype::of<uint64_t>())) {
    throw Error("signatures: expected uint32 or uint64 values");
  }
  const void* data = signatures.data();
  const py::gil_scoped_release release;
  if (narrow) {
    dedup::band_keys(static_cast<const uint32_t*>(data), documents, size, bands, rows, threads, out);
  } else {
    dedup::band_keys(static_cast<const uint64_t*>(data), documents, size, bands, rows, threads, out);
  }
  return keys;
}

// Where the stored bytes come from: a path, or arrays that follow one another.
std::unique_ptr<dedup::ByteStore> open_store(const py::object& source) {
  if (py::isinstance<py::str>(source)) return std::make_unique<dedup::ByteStore>(source.cast<std::string>());
  std::vector<std::span<const char>> pieces;
  for (const py::handle item : source) {
    const auto array = py::cast<py::array>(item);
    if (!(array.flags() & py::array::c_style)) throw Error("stored arrays must be C-contiguous");
    pieces.emplace_back(static_cast<const char*>(array.data()), static_cast<std::size_t>(array.nbytes()));
  }
  return std::make_unique<dedup::ByteStore>(std::move(pieces));
}

// Pairs over what Python keeps.
struct Stored {
  py::object source;
  std::unique_ptr<dedup::ByteStore> store;
  std::unique_ptr<dedup::Pairs> pairs;
};

struct StoredSignatures : Stored {
  StoredSignatures(const py::object& from, std::size_t size, int value_bytes)
      : Stored{from, open_store(from), nullptr} {
    pairs = std::make_unique<dedup::SignaturePairs>(*store, size, value_bytes);
  }
  const dedup::SignaturePairs& signatures() const { return static_cast<const dedup::SignaturePairs&>(*pairs); }
};

struct SharedBands : Stored {
  SharedBands(const StoredSignatures& stored, int bands, int rows) : Stored{py::none(), nullptr, nullptr} {
    check_bands(bands, rows, static_cast<int64_t>(stored.signatures().size()));
    pairs = std::make_unique<dedup::BandPairs>(stored.signatures(), bands, rows);
  }
};

struct StoredSets : Stored {
  StoredSets(const py::object& from, py::array_t<int64_t, py::array::c_style> set_ends)
      : Stored{from, open_store(from), nullptr}, ends(std::move(set_ends)) {
    pairs = std::make_unique<dedup::SetPairs>(*store, std::span(ends.data(), static_cast<std::size_t>(ends.size())));
  }
  py::array_t<int64_t, py::array::c_style> ends;
};

// The whole texts' second 64 bits: 1 where they agree.
class HashPairs : public dedup::Pairs {
 public:
  explicit HashPairs(std::span<const uint64_t> low) : low_(low) {}
  std::span<const char> read(uint32_t document, std::vector<char>&) const override {
    if (document >= low_.size()) {
      throw Error("document " + std::to_string(document) + " of " + std::to_string(low_.size()) +
                  "; give a smaller one");
    }
    return {reinterpret_cast<const char*>(low_.data() + document), sizeof(uint64_t)};
  }
  double jaccard(std::span<const char> a, std::span<const char> b) const override {
    return std::memcmp(a.data(), b.data(), sizeof(uint64_t)) == 0 ? 1.0 : 0.0;
  }

 private:
  std::span<const uint64_t> low_;
};

struct StoredHashes : Stored {
  explicit StoredHashes(Keys hashes) : Stored{py::none(), nullptr, nullptr}, low(std::move(hashes)) {
    pairs = std::make_unique<HashPairs>(std::span(low.data(), static_cast<std::size_t>(low.size())));
  }
  Keys low;
};

using Documents = py::array_t<uint32_t, py::array::c_style>;

py::array_t<double> jaccard(const Stored& stored, const Documents& a, const Documents& b, int threads) {
  if (a.ndim() != 1 || b.ndim() != 1 || a.size() != b.size()) throw Error("a and b: expected arrays of one length");
  py::array_t<double> result(a.size());
  const auto size = static_cast<std::size_t>(a.size());
  const uint32_t* x = a.data();
  const uint32_t* y = b.data();
  double* out = result.mutable_data();
  const dedup::Pairs& pairs = *stored.pairs;
  const py::gil_scoped_release release;
  constexpr std::size_t kBlock = 1024;
  parallel_for((size + kBlock - 1) / kBlock, threads, [&](std::size_t block) {
    for (std::size_t i = block * kBlock; i < std::min(size, (block + 1) * kBlock); ++i) {
      out[i] = pairs.jaccard(x[i], y[i]);
    }
  });
  return result;
}

// One number a document, each of a document.
std::span<const uint32_t> checked_documents(const Documents& documents, const char* name, std::size_t size) {
  const std::span values(documents.data(), static_cast<std::size_t>(documents.size()));
  if (documents.ndim() != 1 || values.size() != size) {
    throw Error(std::string(name) + ": expected " + std::to_string(size) + " numbers, one a document");
  }
  return values;
}

// The document that stays for each one of some clusters, best first; and the pairs compared.
py::tuple choose_stars(const Documents& documents, const py::array_t<int64_t, py::array::c_style>& starts,
                       const Documents& texts, const Stored& alike, double threshold,
                       const StoredSignatures& signatures, int bands, int rows, uint32_t protected_documents,
                       bool text_decides, int threads) {
  check_bands(bands, rows, static_cast<int64_t>(signatures.signatures().size()));
  const std::span order(documents.data(), static_cast<std::size_t>(documents.size()));
  const std::span begins(starts.data(), static_cast<std::size_t>(starts.size()));
  if (begins.empty() || begins.front() != 0 || begins.back() != documents.size() ||
      !std::is_sorted(begins.begin(), begins.end())) {
    throw Error("starts: expected ascending numbers from 0 to the number of documents");
  }
  const auto most = static_cast<std::size_t>(texts.size());
  if (std::any_of(order.begin(), order.end(), [&](uint32_t document) { return document >= most; })) {
    throw Error("documents: expected numbers below the " + std::to_string(most) + " texts");
  }
  const dedup::Star star{*alike.pairs, threshold,           signatures.signatures(), bands,
                         rows,         protected_documents, {texts.data(), most},    text_decides};
  Documents stays(documents.size());
  uint32_t* out = stays.mutable_data();
  uint64_t compared = 0;
  {
    const py::gil_scoped_release release;
    compared = dedup::choose_stars(star, order, begins, threads, out);
  }
  return py::make_tuple(stays, compared);
}

// Disjoint sets of documents.
class DocumentSets {
 public:
  explicit DocumentSets(int64_t size) : sets_(checked(size)) {}

  py::tuple unite(const std::vector<std::vector<Keys>>& columns, const std::optional<Documents>& texts, int parts,
                  int threads, const Stored* stored, double threshold) {
    std::vector<dedup::KeyColumn> native;
    for (const auto& column : columns) {
      dedup::KeyColumn& pieces = native.emplace_back();
      std::size_t total = 0;
      for (const Keys& piece : column) {
        if (piece.ndim() != 1) throw Error("keys: expected one-dimensional arrays");
        pieces.emplace_back(piece.data(), static_cast<std::size_t>(piece.size()));
        total += pieces.back().size();
      }
      if (total != sets_.size()) {
        throw Error("a column has " + std::to_string(total) + " keys for " + std::to_string(sets_.size()) +
                    " documents");
      }
    }
    std::span<const uint32_t> text_of;
    if (texts) text_of = checked_documents(*texts, "texts", sets_.size());
    dedup::Accept accept;
    if (stored != nullptr) {
      accept = [pairs = stored->pairs.get(), threshold](uint32_t a, uint32_t b) {
        return pairs->jaccard(a, b) >= threshold;
      };
    }
    dedup::UniteCounts counts;
    {
      const py::gil_scoped_release release;
      counts = dedup::unite_equal_keys(sets_, native, text_of, parts, threads, accept);
    }
    return py::make_tuple(counts.groups, counts.pairs, counts.accepted);
  }

  Documents roots() {
    Documents roots(static_cast<py::ssize_t>(sets_.size()));
    uint32_t* out = roots.mutable_data();
    const py::gil_scoped_release release;
    for (uint32_t i = 0; i < sets_.size(); ++i) out[i] = sets_.find(i);
    return roots;
  }

 private:
  static uint32_t checked(int64_t size) {
    if (size < 0 || size >= int64_t{0xFFFFFFFF}) {
      throw Error(std::to_string(size) +
                  " documents; one run takes fewer than 2³²: deduplicate parts against an index");
    }
    return static_cast<uint32_t>(size);
  }

  dedup::UnionFind sets_;
};

}  // namespace

void register_dedup(py::module_& m) {
  py::class_<MinHasher>(m, "MinHasher")
      .def(py::init(&make_hasher), py::arg("num_perm"), py::arg("ngram"), py::arg("tokens"), py::arg("language"),
           py::arg("scheme"), py::arg("hash"), py::arg("simplify"), py::arg("seed"), py::arg("a"), py::arg("b"))
      .def("sign", &sign, py::arg("strings"), py::arg("threads"))
      .def("shingles", &shingles, py::arg("strings"), py::arg("threads"));
  py::class_<Stored>(m, "Pairs").def("jaccard", &jaccard, py::arg("a"), py::arg("b"), py::arg("threads"));
  py::class_<StoredSignatures, Stored>(m, "StoredSignatures")
      .def(py::init<py::object, std::size_t, int>(), py::arg("source"), py::arg("size"), py::arg("value_bytes"));
  py::class_<SharedBands, Stored>(m, "SharedBands")
      .def(py::init<const StoredSignatures&, int, int>(), py::arg("signatures"), py::arg("bands"), py::arg("rows"),
           py::keep_alive<1, 2>());
  py::class_<StoredSets, Stored>(m, "StoredSets")
      .def(py::init<py::object, py::array_t<int64_t, py::array::c_style>>(), py::arg("source"), py::arg("ends"));
  py::class_<StoredHashes, Stored>(m, "StoredHashes").def(py::init<Keys>(), py::arg("low"));
  py::class_<DocumentSets>(m, "DocumentSets")
      .def(py::init<int64_t>(), py::arg("size"))
      .def("unite", &DocumentSets::unite, py::arg("columns"), py::arg("texts").none(true), py::arg("parts"),
           py::arg("threads"), py::arg("pairs").none(true), py::arg("threshold"))
      .def("roots", &DocumentSets::roots);
  m.def("choose_stars", &choose_stars, py::arg("documents"), py::arg("starts"), py::arg("texts"), py::arg("alike"),
        py::arg("threshold"), py::arg("signatures"), py::arg("bands"), py::arg("rows"), py::arg("protected_documents"),
        py::arg("text_decides"), py::arg("threads"));
  m.def("hash_texts", &hash_texts, py::arg("strings"), py::arg("simplify"), py::arg("threads"));
  m.def("hash_lines", &hash_lines, py::arg("strings"), py::arg("least"), py::arg("threads"));
  m.def("drop_lines", &drop_lines, py::arg("strings"), py::arg("least"), py::arg("drop"));
  m.def("band_keys", &band_keys, py::arg("signatures"), py::arg("bands"), py::arg("rows"), py::arg("threads"));
  m.def(
      "digest",
      [](const std::string& name, const py::bytes& data) {
        const std::string_view view = data;
        switch (parse_digest(name)) {
          case dedup::Digest::kXxh32:
            return uint64_t{dedup::xxh32(view.data(), view.size())};
          case dedup::Digest::kXxh64:
            return dedup::xxh64(view.data(), view.size());
          case dedup::Digest::kSha1:
            break;
        }
        return dedup::sha1_prefix(view.data(), view.size());
      },
      py::arg("name"), py::arg("data"));
}

}  // namespace smolfast::bindings
