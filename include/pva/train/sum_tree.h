// A fixed order of sums over numbered parts: a binary tree, whoever holds which part.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace pva::train {

/// The tree's node over the parts [first, last): the sum of its two halves, the left one the smaller by at most one.
struct TreeNode {
    std::int64_t first = 0;
    std::int64_t last = 0;

    std::int64_t middle() const { return first + (last - first) / 2; }
    bool operator==(const TreeNode&) const = default;
};

/// The largest nodes of the tree over `total` parts that lie in [first, last), from the left: what the holder of these
/// parts can sum alone without changing the order of anything.
inline void append_nodes(const TreeNode& node, std::int64_t first, std::int64_t last, std::vector<TreeNode>& nodes) {
    if (node.last <= first || last <= node.first) return;
    if (first <= node.first && node.last <= last) {
        nodes.push_back(node);
        return;
    }
    append_nodes({node.first, node.middle()}, first, last, nodes);
    append_nodes({node.middle(), node.last}, first, last, nodes);
}
inline std::vector<TreeNode> nodes_within(std::int64_t total, std::int64_t first, std::int64_t last) {
    std::vector<TreeNode> nodes;
    if (first < last) append_nodes({0, total}, first, last, nodes);
    return nodes;
}

/// The sum at `node`. known(node) gives a sum that is there already (or made now) as something that converts to bool and
/// is moved from; it must give one for single parts. add(left, right) is left += right.
template <class Sum, class Known, class Add>
Sum sum_tree(const TreeNode& node, const Known& known, const Add& add) {
    if (Sum there = known(node)) return there;
    Sum left = sum_tree<Sum>({node.first, node.middle()}, known, add);
    Sum right = sum_tree<Sum>({node.middle(), node.last}, known, add);
    add(left, right);
    return left;
}

}  // namespace pva::train
