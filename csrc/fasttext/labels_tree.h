// The Huffman tree of hierarchical softmax, built from the labels' counts as fastText builds it.
#pragma once

#include <cstdint>
#include <vector>

namespace smolfast::fasttext {

class LabelsTree {
 public:
  struct Node {
    int32_t parent = -1;
    int32_t left = -1;
    int32_t right = -1;
    bool is_right = false;  // of its parent's two
  };

  // Throws Error unless the counts are at least 0 and at most 10¹⁵ together.
  explicit LabelsTree(const std::vector<int64_t>& counts);

  int32_t leaves() const { return leaves_; }
  int32_t root() const { return static_cast<int32_t>(nodes_.size()) - 1; }
  // Leaves are numbered as the labels; the row of an inner node's weights is its number less leaves().
  const Node& operator[](int32_t node) const { return nodes_[static_cast<std::size_t>(node)]; }

 private:
  int32_t leaves_;
  std::vector<Node> nodes_;
};

}  // namespace smolfast::fasttext
