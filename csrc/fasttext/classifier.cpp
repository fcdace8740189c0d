#include "fasttext/classifier.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "base/error.h"
#include "fasttext/elementary.h"
#include "fasttext/kernels.h"

namespace smolfast::fasttext {
namespace {

constexpr int kSigmoidSteps = 512;
constexpr float kSigmoidEnd = 8;

// fastText's sigmoid: a table of 512 steps from −8 to 8.
class SigmoidTable {
 public:
  SigmoidTable() {
    for (int i = 0; i <= kSigmoidSteps; ++i) {
      const float x = static_cast<float>(i * 2 * 8) / kSigmoidSteps - kSigmoidEnd;
      at_[i] = static_cast<float>(1.0 / (1.0 + exponential(-double{x})));
    }
  }
  float operator()(float x) const {
    if (!(x >= -kSigmoidEnd)) return 0;  // also where infinite weights leave no number
    if (x > kSigmoidEnd) return 1;
    return at_[static_cast<int>((x + kSigmoidEnd) * kSigmoidSteps / kSigmoidEnd / 2)];
  }

 private:
  float at_[kSigmoidSteps + 1];
};

const SigmoidTable kSigmoid;

// fastText's logarithm of a probability, and its way back.
float log_of(float probability) {
  return static_cast<float>(logarithm(double{probability} + 1e-5));
}
float score_of(float log) {
  return static_cast<float>(exponential(double{log}));
}

using Scored = std::pair<float, int32_t>;

bool is_better(const Scored& left, const Scored& right) {
  return left.first > right.first;
}

// The k best so far, kept and left in the order of fastText's heap: among equals that order decides.
class Best {
 public:
  Best(std::size_t k, std::vector<Scored>& heap) : k_(k), heap_(heap) { heap_.clear(); }
  bool refuses(float log) const { return heap_.size() == k_ && log < heap_.front().first; }
  void take(float log, int32_t label) {
    heap_.emplace_back(log, label);
    std::push_heap(heap_.begin(), heap_.end(), is_better);
    if (heap_.size() <= k_) return;
    std::pop_heap(heap_.begin(), heap_.end(), is_better);
    heap_.pop_back();
  }
  void append_to(std::vector<Prediction>& out) {
    std::sort_heap(heap_.begin(), heap_.end(), is_better);
    for (const auto& [log, label] : heap_) out.push_back({score_of(log), label});
  }

 private:
  std::size_t k_;
  std::vector<Scored>& heap_;
};

// Whether a score may differ from fastText's by 1e-5. Of 1,000 means 999 differ by less than a third of the margin.
bool uncertain(float score, float margin) {
  return score * (1 - score) * margin > 7e-6f;
}

bool close(float a, float b, float margin) {
  return std::abs(a - b) <= margin;
}

}  // namespace

Classifier::Classifier(Model&& model)
    : model_(std::move(model)), cache_bytes_(WordCache::bytes_beside(model_.file.bytes().size())) {
  if (!model_.supervised() || model_.settings.loss != Loss::kHierarchical) return;
  std::vector<int64_t> counts;
  for (int32_t i = 0; i < model_.labels(); ++i) {
    counts.push_back(model_.vocabulary.count(model_.vocabulary.words() + i));
  }
  try {
    tree_.emplace(counts);
  } catch (const Error& error) {
    throw Error(model_.name + ": " + error.what() + "; the file is damaged: download or make it again");
  }
}

void Classifier::check_supervised() const {
  if (model_.supervised()) return;
  throw Error(model_.name + ": holds vectors of words and no labels; use embed, or give a supervised model");
}

std::unique_ptr<Classifier::Workspace> Classifier::take_workspace() const {
  {
    const std::lock_guard<std::mutex> hold(lock_);
    if (!idle_.empty()) {
      auto found = std::find_if(idle_.begin(), idle_.end(),
                                [me = std::this_thread::get_id()](const Idle& idle) { return idle.user == me; });
      if (found == idle_.end()) found = idle_.begin();
      std::unique_ptr<Workspace> taken = std::move(found->workspace);
      idle_.erase(found);
      return taken;
    }
  }
  return std::make_unique<Workspace>(model_, cache_bytes_);
}

void Classifier::give_back(std::unique_ptr<Workspace> workspace) const {
  const std::lock_guard<std::mutex> hold(lock_);
  idle_.push_back({std::move(workspace), std::this_thread::get_id()});
}

// The mean of the rows into `hidden`; returns how many there are.
int64_t Classifier::hide(Workspace& work, std::string_view text, bool in_order) const {
  int64_t rows = in_order ? work.features.add_up_in_order(text) : work.features.add_up(text);
  if (!in_order && work.features.repetitive()) {
    in_order = true;
    rows = work.features.add_up_in_order(text);
  }
  work.in_order = in_order;
  if (rows == 0) return 0;
  // The means of 56,000 texts differed from fastText's by this share of their length at most, in five models. What a
  // long text says again is rounded the same way each time.
  const auto n = static_cast<float>(rows);
  work.margin = 5e-7f * (10 + std::sqrt(n) + n / 500);
  const auto share = static_cast<float>(1.0 / static_cast<double>(rows));
  for (std::size_t i = 0; i < work.hidden.size(); ++i) work.hidden[i] = work.features.sum()[i] * share;
  return rows;
}

float Classifier::logit(Workspace& work, int32_t row) const {
  float* const scratch = work.features.row_scratch();
  const float found = work.in_order ? model_.output.dot_in_order(row, work.hidden.data(), scratch)
                                    : model_.output.dot(kernels(), row, work.hidden.data(), scratch);
  if (found != found) {
    throw Error(model_.name + ": its weights give no number for a text (NaN); make or download the model again");
  }
  return found;
}

void Classifier::logits(Workspace& work) const {
  work.output.resize(static_cast<std::size_t>(model_.labels()));
  for (int32_t i = 0; i < model_.labels(); ++i) work.output[static_cast<std::size_t>(i)] = logit(work, i);
}

// Whether fastText's order of sums could give other labels, or scores that differ by 1e-5, than these logits.
bool Classifier::unsure(Workspace& work, std::size_t k, float threshold) const {
  const std::vector<float>& x = work.output;
  const bool softmax = model_.settings.loss == Loss::kSoftmax;
  const auto margin = [&](float of) { return work.margin * (1 + std::abs(of)); };
  std::vector<float>& ranked = work.ranked;
  const std::size_t head = std::min(k, x.size());
  float last;
  if (k == 1) {
    last = *std::max_element(x.begin(), x.end());
  } else {
    ranked.assign(x.begin(), x.end());
    const std::size_t sorted = std::min(head + 1, ranked.size());
    std::partial_sort(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(sorted), ranked.end(),
                      std::greater<>());
    last = ranked[head - 1];
    if (softmax && head < x.size()) {
      for (std::size_t i = 0; i + 1 < sorted; ++i) {
        if (close(ranked[i], ranked[i + 1], 2 * margin(ranked[i]))) return true;
      }
    }
  }
  if (softmax) {
    if (k != 1) return false;
    std::size_t tied = 0;
    for (const float value : x) tied += close(value, last, 2 * margin(last)) ? 1 : 0;
    return tied > 1;
  }
  const float least = kSigmoid(last - margin(last));
  for (const float value : x) {
    const float high = kSigmoid(value + margin(value));
    if (high >= least && high >= threshold && high != kSigmoid(value - margin(value))) return true;
  }
  return false;
}

// The softmax of `output`.
void Classifier::shares(Workspace& work) const {
  std::vector<float>& x = work.output;
  if (!work.in_order) return kernels().softmax(x.data(), x.size());
  const float most = *std::max_element(x.begin(), x.end());
  float sum = 0;
  for (float& value : x) {
    value = static_cast<float>(exponential(double{value - most}));
    sum += value;
  }
  for (float& value : x) value /= sum;
}

// Softmax, and labels that are judged one by one.
void Classifier::flat(Workspace& work, std::size_t k, float threshold, std::vector<Prediction>& out) const {
  std::vector<float>& scores = work.output;
  if (model_.settings.loss == Loss::kSoftmax) {
    shares(work);
  } else {
    for (float& x : scores) x = kSigmoid(x);
  }
  Best best(k, work.heap);
  float refused = -1;  // below it no logarithm need be taken
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] < threshold || scores[i] < refused) continue;
    const float log = log_of(scores[i]);
    if (best.refuses(log)) {
      refused = std::max(refused, scores[i]);
      continue;
    }
    best.take(log, static_cast<int32_t>(i));
  }
  best.append_to(out);
}

// What goes right of an inner node's probability.
float Classifier::right_share(Workspace& work, int32_t node) const {
  const float x = logit(work, node - tree_->leaves());
  const float one_and_inverse = 1 + static_cast<float>(exponential(-double{x}));
  return static_cast<float>(1.0 / double{one_and_inverse});
}

// The best leaf as fastText finds it, from left to right. First a way down to a likely one: what can't reach its
// probability needn't be looked at, most of the tree. Returns false if another order of sums could give another leaf.
bool Classifier::best_leaf(Workspace& work, float threshold, std::vector<Prediction>& out) const {
  constexpr double kEpsilon = 1e-5;  // fastText adds it to every factor
  constexpr double kSlack = 0.99;    // so that nothing is lost by it, or by rounding
  const LabelsTree& tree = *tree_;
  double known = 1;
  for (int32_t node = tree.root(); tree[node].left >= 0;) {
    const float right = right_share(work, node);
    const bool go_right = right > 0.5f;
    known *= (go_right ? double{right} : 1.0 - double{right}) + kEpsilon;
    node = go_right ? tree[node].right : tree[node].left;
  }
  const float least = log_of(threshold);
  const float near = 20 * work.margin;
  float best = 0;
  float next = -std::numeric_limits<float>::infinity();  // the best score of what wasn't taken
  int32_t label = -1;
  bool near_threshold = false;
  work.branches.clear();
  work.branches.push_back({tree.root(), 0, 1, 1});
  while (!work.branches.empty()) {
    const auto [node, above, share, estimate] = work.branches.back();
    work.branches.pop_back();
    if (estimate < kSlack * known) continue;
    const float score = node == tree.root() ? 0 : above + log_of(share);
    near_threshold |= threshold > 0 && close(score, least, near);
    if (score < least) continue;
    if (label >= 0 && score < best) {
      next = std::max(next, score);
      continue;
    }
    if (tree[node].left < 0) {
      if (label >= 0) next = std::max(next, best);
      best = score;
      label = node;
      known = std::max(known, estimate);
      continue;
    }
    const float right = right_share(work, node);
    const auto left = static_cast<float>(1.0 - double{right});
    work.branches.push_back({tree[node].right, score, right, estimate * (double{right} + kEpsilon)});
    work.branches.push_back({tree[node].left, score, left, estimate * (double{left} + kEpsilon)});
  }
  if (label >= 0) out.push_back({score_of(best), label});
  return !near_threshold && (label < 0 || best - next > near);
}

void Classifier::leaves(Workspace& work, std::size_t k, float threshold, std::vector<Prediction>& out) const {
  const LabelsTree& tree = *tree_;
  const float least = log_of(threshold);
  Best best(k, work.heap);
  work.branches.clear();
  work.branches.push_back({tree.root(), 0, 1, 1});
  while (!work.branches.empty()) {
    const auto [node, above, share, estimate] = work.branches.back();
    work.branches.pop_back();
    const float score = node == tree.root() ? 0 : above + log_of(share);
    if (score < least || best.refuses(score)) continue;
    if (tree[node].left < 0) {
      best.take(score, node);
      continue;
    }
    const float right = right_share(work, node);
    work.branches.push_back({tree[node].right, score, right, 0});
    work.branches.push_back({tree[node].left, score, static_cast<float>(1.0 - double{right}), 0});
  }
  best.append_to(out);
}

float Classifier::leaf_score(Workspace& work, int32_t label) const {
  const LabelsTree& tree = *tree_;
  work.branches.clear();
  for (int32_t node = label; node != tree.root(); node = tree[node].parent) work.branches.push_back({node, 0, 0, 0});
  const float least = log_of(0);
  float score = 0;
  for (; !work.branches.empty(); work.branches.pop_back()) {
    const LabelsTree::Node& node = tree[work.branches.back().node];
    const float right = right_share(work, node.parent);
    score += log_of(node.is_right ? right : static_cast<float>(1.0 - double{right}));
    if (score < least) return 0;
  }
  return score_of(score);
}

void Classifier::predict(Workspace& work, std::string_view text, int32_t k, float threshold,
                         std::vector<Prediction>& out) const {
  const std::size_t most = k == kAll ? static_cast<std::size_t>(model_.labels()) : static_cast<std::size_t>(k);
  if (hide(work, text, false) == 0) return;
  const std::size_t before = out.size();
  const auto run = [&] {
    if (!tree_) {
      logits(work);
      if (!work.in_order && unsure(work, most, threshold)) return false;
      flat(work, most, threshold, out);
    } else if (most == 1) {
      if (!best_leaf(work, threshold, out) && !work.in_order) return false;
    } else {
      leaves(work, most, threshold, out);
    }
    if (work.in_order) return true;
    for (std::size_t i = before; i < out.size(); ++i) {
      const float score = out[i].score;
      if (uncertain(score, work.margin)) return false;
      if (threshold > 0 && close(score, threshold, 2e-5f)) return false;
      if (tree_ && k != kAll && i > before && close(out[i - 1].score, score, 20 * work.margin * score)) return false;
    }
    return true;
  };
  if (run()) return;
  out.resize(before);
  hide(work, text, true);
  run();
}

void Classifier::scores(Workspace& work, std::string_view text, std::span<const int32_t> labels, float* out) const {
  std::fill(out, out + labels.size(), 0.0f);
  const auto run = [&](bool in_order) {
    if (hide(work, text, in_order) == 0) return true;
    if (model_.settings.loss == Loss::kSoftmax) {
      logits(work);
      shares(work);
    }
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (tree_) {
        out[i] = leaf_score(work, labels[i]);
      } else if (model_.settings.loss == Loss::kSoftmax) {
        out[i] = score_of(log_of(work.output[static_cast<std::size_t>(labels[i])]));
      } else {
        const float x = logit(work, labels[i]);
        const float margin = work.margin * (1 + std::abs(x));
        if (!in_order && kSigmoid(x - margin) != kSigmoid(x + margin)) return false;
        out[i] = score_of(log_of(kSigmoid(x)));
      }
      if (!in_order && uncertain(out[i], work.margin)) return false;
    }
    return true;
  };
  if (!run(false)) run(true);
}

void Classifier::embed(Workspace& work, std::string_view text, float* out) const {
  if (!model_.supervised()) {
    work.features.average_words(text);
    std::copy_n(work.features.sum(), work.hidden.size(), out);
    return;
  }
  if (hide(work, text, false) == 0) {
    std::fill_n(out, work.hidden.size(), 0.0f);
    return;
  }
  std::copy(work.hidden.begin(), work.hidden.end(), out);
}

}  // namespace smolfast::fasttext
