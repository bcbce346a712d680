// Vocabulary: token texts and ids, both ways, in a few flat arrays (one for all the text), because
// opening a model must not take longer than reading its file. Thread-safe once filled.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace twofold {

/// Highest id that `tokens` tokens may use: holes are allowed, but not such that a number in a file
/// decides how much memory is taken.
inline constexpr int64_t max_token_id(size_t tokens) {
  return 65535 + 16 * static_cast<int64_t>(tokens);
}

class Vocabulary {
 public:
  /// @param tokens,bytes what will be added, for one allocation each.
  void reserve(size_t tokens, size_t bytes);

  enum class Added { kYes, kTextKnown, kIdTaken };
  /// `id` must lie in [0, max_token_id(all tokens)]. A known text keeps its first id when looked
  /// up; the later id still has its text.
  Added add(std::string_view text, int32_t id);

  /// -1 if there is none.
  int32_t find(std::string_view text) const;
  /// Empty if there is none.
  std::string_view text(int32_t id) const;
  bool has(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < entry_of_id_.size() && entry_of_id_[id] >= 0;
  }
  /// Highest id + 1.
  int64_t size() const { return static_cast<int64_t>(entry_of_id_.size()); }
  /// Number of tokens.
  int64_t count() const { return static_cast<int64_t>(entries_.size()); }

 private:
  struct Entry {
    uint32_t offset = 0;
    uint32_t bytes = 0;
    uint32_t hash = 0;
    int32_t id = -1;
  };
  std::string_view text_of(const Entry& entry) const {
    return std::string_view(arena_).substr(entry.offset, entry.bytes);
  }
  void grow(size_t tokens);

  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<int32_t> slots_;        // index of entries_, -1 empty; a power of two of them
  std::vector<int32_t> entry_of_id_;  // -1: a hole
};

/// Merges of byte-pair encoding: which pairs of ids join, how early, and into what.
class MergeTable {
 public:
  struct Merge {
    int32_t rank = -1;  // lower joins first; -1: no such merge
    int32_t id = -1;
  };
  void reserve(size_t merges);
  /// A pair given again takes the later rank and id.
  void set(int32_t left, int32_t right, Merge merge);
  Merge find(int32_t left, int32_t right) const {
    if (slots_.empty()) return {};
    const uint64_t key = pair_key(left, right);
    for (size_t at = slot_of(key);; at = (at + 1) & mask_) {
      if (slots_[at].key == key) return slots_[at].merge;
      if (slots_[at].key == kEmpty) return {};
    }
  }
  struct Row {
    int32_t left, right;
    Merge merge;
  };
  /// All merges, by rank, then left, then right.
  std::vector<Row> sorted() const;

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};  // ids are non-negative, so no pair has this key
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };
  static uint64_t pair_key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t slot_of(uint64_t key) const {
    return static_cast<size_t>((key * 0x9E3779B97F4A7C15U) >> shift_);
  }

  std::vector<Slot> slots_;
  size_t count_ = 0;
  size_t mask_ = 0;
  int shift_ = 0;
};

}  // namespace twofold
