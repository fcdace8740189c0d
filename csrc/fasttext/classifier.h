// Labels and scores of texts, by a model of fastText's.
//
// Sums are taken in another order than fastText's, since a word's rows are kept summed. Where that could decide (two
// labels nearly equal, a score at an edge of fastText's table of the sigmoid, a score beside the threshold), the text
// is done again in fastText's order. So labels are fastText's, and scores within 1e-5.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "fasttext/features.h"
#include "fasttext/labels_tree.h"
#include "fasttext/model.h"

namespace smolfast::fasttext {

struct Prediction {
  float score;
  int32_t label;
};

class Classifier {
 public:
  static constexpr int32_t kAll = -1;

  explicit Classifier(Model&& model);

  const Model& model() const { return model_; }
  // Throws Error if the model holds vectors of words alone.
  void check_supervised() const;

  // Scratch memory of one thread, and its cache of words.
  class Workspace;
  // One that nobody uses, if there is one then this thread's last, whose cache its CPU has near; give it back.
  std::unique_ptr<Workspace> take_workspace() const;
  void give_back(std::unique_ptr<Workspace> workspace) const;

  // Appends the k best labels (kAll: all) with a score of at least `threshold`, best first. None for a text without a
  // known word or n-gram. Throws Error where the weights give no number.
  void predict(Workspace& work, std::string_view text, int32_t k, float threshold, std::vector<Prediction>& out) const;
  // The scores that predict gives these labels with k = kAll and threshold 0, and 0 where it gives none.
  void scores(Workspace& work, std::string_view text, std::span<const int32_t> labels, float* out) const;
  // The mean of a text's rows; of a model of words, that of its words' vectors, each of length 1. Zeros without any.
  void embed(Workspace& work, std::string_view text, float* out) const;

 private:
  int64_t hide(Workspace& work, std::string_view text, bool in_order) const;
  float logit(Workspace& work, int32_t row) const;
  void logits(Workspace& work) const;
  void shares(Workspace& work) const;
  bool unsure(Workspace& work, std::size_t k, float threshold) const;
  void flat(Workspace& work, std::size_t k, float threshold, std::vector<Prediction>& out) const;
  bool best_leaf(Workspace& work, float threshold, std::vector<Prediction>& out) const;
  void leaves(Workspace& work, std::size_t k, float threshold, std::vector<Prediction>& out) const;
  float leaf_score(Workspace& work, int32_t label) const;
  float right_share(Workspace& work, int32_t node) const;

  struct Idle {
    std::unique_ptr<Workspace> workspace;
    std::thread::id user;
  };

  Model model_;
  std::size_t cache_bytes_;
  std::optional<LabelsTree> tree_;
  mutable std::mutex lock_;
  mutable std::vector<Idle> idle_;
};

class Classifier::Workspace {
 public:
  Workspace(const Model& model, std::size_t cache_bytes)
      : features(model, cache_bytes), hidden(static_cast<std::size_t>(model.settings.dim)) {}

 private:
  friend class Classifier;
  // A node yet to be looked at.
  struct Branch {
    int32_t node;
    float above;      // its parent's score
    float share;      // of its parent's probability
    double estimate;  // of its own
  };

  Features features;
  std::vector<float> hidden;
  bool in_order = false;      // whether `hidden`, and what is made of it, is summed as fastText does
  float margin = 0;           // by how much a logit may differ from fastText's, for a logit of 1
  std::vector<float> output;  // logits, then scores
  std::vector<float> ranked;
  std::vector<std::pair<float, int32_t>> heap;
  std::vector<Branch> branches;
};

}  // namespace smolfast::fasttext
