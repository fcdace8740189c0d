#include "fasttext/model.h"

#include "fasttext/reader.h"

namespace smolfast::fasttext {
namespace {

constexpr int32_t kMostNgram = 255;  // work on a text grows with it

Settings read_settings(Reader& reader) {
  Settings s;
  s.dim = reader.number<int32_t>("dim");
  s.ws = reader.number<int32_t>("ws");
  s.epoch = reader.number<int32_t>("epoch");
  s.min_count = reader.number<int32_t>("minCount");
  s.neg = reader.number<int32_t>("neg");
  s.word_ngrams = reader.number<int32_t>("wordNgrams");
  const auto loss = reader.number<int32_t>("loss");
  const auto model = reader.number<int32_t>("model");
  s.bucket = reader.number<int32_t>("bucket");
  s.minn = reader.number<int32_t>("minn");
  s.maxn = reader.number<int32_t>("maxn");
  s.lr_update_rate = reader.number<int32_t>("lrUpdateRate");
  s.t = reader.number<double>("t");
  const auto within = [&](const char* name, int32_t value, int32_t least, int32_t most) {
    if (value >= least && value <= most) return;
    reader.fail(std::string(name) + " is " + std::to_string(value) + ", not from " + std::to_string(least) + " to " +
                std::to_string(most));
  };
  within("loss", loss, 1, 4);
  within("model", model, 1, 3);
  within("bucket", s.bucket, 0, INT32_MAX);
  within("wordNgrams", s.word_ngrams, INT32_MIN, kMostNgram);
  within("minn", s.minn, 0, INT32_MAX);
  within("maxn", s.maxn, 0, kMostNgram);
  s.loss = static_cast<Loss>(loss);
  s.model = static_cast<Kind>(model);
  return s;
}

}  // namespace

Model::Model(const std::string& path) : name(path), file(path) {
  read(file.bytes());
}

Model::Model(std::string_view bytes, const std::string& as) : name(as) {
  read(bytes);
}

void Model::read(std::string_view bytes) {
  Reader reader(bytes, name);
  if (const auto magic = reader.number<int32_t>("the magic number"); magic != kMagic) {
    reader.fail("begins with " + std::to_string(magic) + ", not with fastText's " + std::to_string(kMagic));
  }
  version = reader.number<int32_t>("the format's version");
  if (version != 11 && version != 12) {
    reader.fail("is of format " + std::to_string(version) + "; 11 and 12 are read");
  }
  settings = read_settings(reader);
  if (version == 11 && supervised()) settings.maxn = 0;  // those models had no n-grams of characters
  vocabulary = Vocabulary::read(reader, settings.bucket);
  const bool quantised = reader.flag("whether the input is quantised");
  input = Matrix::read(reader, quantised, "the input matrix");
  const bool output_quantised = reader.flag("whether the output is quantised");
  output = Matrix::read(reader, quantised && output_quantised, "the output matrix");

  if (!quantised && vocabulary.pruned()) {
    reader.fail("has thrown out n-grams and isn't quantised, which fastText refuses too");
  }
  const bool ngrams = settings.maxn > 0 || settings.word_ngrams > 1;
  if (ngrams && settings.bucket == 0) reader.fail("has n-grams, but 0 buckets for them");
  const int64_t needed = int64_t{vocabulary.words()} + (vocabulary.pruned() ? int64_t{vocabulary.kept().last_row()} + 1
                                                        : ngrams            ? int64_t{settings.bucket}
                                                                            : 0);
  if (input.rows() < needed) {
    reader.fail("the input matrix has " + std::to_string(input.rows()) + " rows, and words and n-grams need " +
                std::to_string(needed));
  }
  if (input.cols() != settings.dim || output.cols() != settings.dim) {
    reader.fail("the matrices have rows of " + std::to_string(input.cols()) + " and " + std::to_string(output.cols()) +
                ", and dim is " + std::to_string(settings.dim));
  }
  if (supervised()) {
    if (labels() == 0) reader.fail("has no labels");
    if (output.rows() != labels()) {
      reader.fail("the output matrix has " + std::to_string(output.rows()) + " rows for " + std::to_string(labels()) +
                  " labels");
    }
  }
}

}  // namespace smolfast::fasttext
