#include "fasttext/labels_tree.h"

#include <algorithm>
#include <cstddef>

#include "base/error.h"

namespace smolfast::fasttext {

LabelsTree::LabelsTree(const std::vector<int64_t>& counts)
    : leaves_(static_cast<int32_t>(counts.size())), nodes_(counts.size() * 2 - 1) {
  constexpr int64_t kUnset = 1'000'000'000'000'000;  // fastText's count of a node that isn't built yet
  int64_t left_over = kUnset;
  for (const int64_t count : counts) {
    if (count < 0 || count >= left_over) throw Error("the labels' counts are negative or beyond 10^15 together");
    left_over -= count;
  }
  std::vector<int64_t> weight(nodes_.size(), kUnset);
  std::copy(counts.begin(), counts.end(), weight.begin());
  int32_t leaf = leaves_ - 1;
  int32_t inner = leaves_;
  for (int32_t node = leaves_; node < static_cast<int32_t>(nodes_.size()); ++node) {
    const auto lightest = [&] {
      const bool take_leaf =
          leaf >= 0 && weight[static_cast<std::size_t>(leaf)] < weight[static_cast<std::size_t>(inner)];
      return take_leaf ? leaf-- : inner++;
    };
    const int32_t left = lightest();
    const int32_t right = lightest();
    weight[static_cast<std::size_t>(node)] =
        weight[static_cast<std::size_t>(left)] + weight[static_cast<std::size_t>(right)];
    nodes_[static_cast<std::size_t>(node)].left = left;
    nodes_[static_cast<std::size_t>(node)].right = right;
    nodes_[static_cast<std::size_t>(left)].parent = node;
    nodes_[static_cast<std::size_t>(right)].parent = node;
    nodes_[static_cast<std::size_t>(right)].is_right = true;
  }
}

}  // namespace smolfast::fasttext
