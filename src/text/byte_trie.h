// ByteTrie: the keys that a text starts with, found byte by byte in flat arrays. Thread-safe once
// built.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace twofold {

class ByteTrie {
 public:
  struct Key {
    std::string_view text;  // not empty; read by the constructor only
    int32_t value;          // not negative
  };
  static constexpr uint32_t kRoot = 0;
  static constexpr uint32_t kNowhere = 0;  // the root is no child

  ByteTrie() = default;
  /// Of equal keys the last counts. Memory: 12 bytes for each byte of the keys at most.
  explicit ByteTrie(std::vector<Key> keys);

  /// The node that `byte` leads to, or kNowhere.
  uint32_t child(uint32_t node, char byte) const;
  /// Value of the key that ends at `node`, or -1.
  int32_t value(uint32_t node) const { return nodes_[node].value; }
  bool empty() const { return nodes_.size() <= 1; }

 private:
  struct Node {
    int32_t value = -1;
    uint32_t first_child = 0;  // children lie side by side, ordered by label
    uint16_t children = 0;     // up to 256
    uint8_t label = 0;
  };
  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<uint32_t, 256> child_of_root_{};
};

}  // namespace twofold
