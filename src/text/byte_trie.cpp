#include "text/byte_trie.h"

#include <algorithm>

#include "base/error.h"

namespace twofold {

ByteTrie::ByteTrie(std::vector<Key> keys) {
  std::stable_sort(keys.begin(), keys.end(),
                   [](const Key& a, const Key& b) { return a.text < b.text; });
  struct Range {
    size_t begin, end, depth;  // of keys that share their first `depth` bytes
  };
  // In breadth-first order, so that the children of a node are neighbours.
  std::vector<Range> ranges = {{0, keys.size(), 0}};
  for (size_t node = 0; node < ranges.size(); ++node) {
    auto [at, end, depth] = ranges[node];
    for (; at < end && keys[at].text.size() == depth; ++at) nodes_[node].value = keys[at].value;
    nodes_[node].first_child = static_cast<uint32_t>(nodes_.size());
    while (at < end) {
      const char label = keys[at].text[depth];
      const size_t begin = at;
      while (at < end && keys[at].text[depth] == label) ++at;
      if (nodes_.size() == UINT32_MAX) {
        fail(ErrorCode::kCorruptFile, "vocabulary", "more than 4 GiB of text");
      }
      nodes_.push_back({.label = static_cast<uint8_t>(label)});
      ranges.push_back({begin, at, depth + 1});
      ++nodes_[node].children;
    }
  }
  for (uint32_t i = 0; i < nodes_[kRoot].children; ++i) {
    const uint32_t child = nodes_[kRoot].first_child + i;
    child_of_root_[nodes_[child].label] = child;
  }
}

uint32_t ByteTrie::child(uint32_t node, char byte) const {
  const auto label = static_cast<uint8_t>(byte);
  if (node == kRoot) return child_of_root_[label];
  uint32_t low = nodes_[node].first_child, high = low + nodes_[node].children;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (nodes_[middle].label == label) return middle;
    if (nodes_[middle].label < label) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return kNowhere;
}

}  // namespace twofold
