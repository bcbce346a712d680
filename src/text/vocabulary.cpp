#include "text/vocabulary.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <tuple>

#include "base/error.h"

namespace twofold {
namespace {
uint32_t hash_of(std::string_view text) {
  return static_cast<uint32_t>(std::hash<std::string_view>{}(text));
}
}  // namespace

void Vocabulary::reserve(size_t tokens, size_t bytes) {
  arena_.reserve(bytes);
  entries_.reserve(tokens);
  entry_of_id_.reserve(tokens);
  grow(tokens);
}

void Vocabulary::grow(size_t tokens) {
  const size_t slots = std::bit_ceil(std::max<size_t>(16, tokens * 2));
  if (slots <= slots_.size()) return;
  slots_.assign(slots, -1);
  for (size_t index = 0; index < entries_.size(); ++index) {
    const Entry& entry = entries_[index];
    size_t at = entry.hash & (slots - 1);
    bool known = false;
    for (; slots_[at] >= 0 && !known; at = (at + 1) & (slots - 1)) {
      const Entry& other = entries_[static_cast<size_t>(slots_[at])];
      known = other.hash == entry.hash && text_of(other) == text_of(entry);
    }
    if (!known) slots_[at] = static_cast<int32_t>(index);
  }
}

Vocabulary::Added Vocabulary::add(std::string_view text, int32_t id) {
  TWOFOLD_ASSERT(id >= 0);
  if (has(id)) return Added::kIdTaken;
  if (text.size() > UINT32_MAX - arena_.size()) {
    fail(ErrorCode::kCorruptFile, "vocabulary", "more than 4 GiB of text");
  }
  grow(entries_.size() + 1);
  const uint32_t hash = hash_of(text);
  const auto index = static_cast<int32_t>(entries_.size());
  size_t at = hash & (slots_.size() - 1);
  bool known = false;
  for (; slots_[at] >= 0; at = (at + 1) & (slots_.size() - 1)) {
    const Entry& other = entries_[static_cast<size_t>(slots_[at])];
    if (other.hash == hash && text_of(other) == text) {
      known = true;
      break;
    }
  }
  if (!known) slots_[at] = index;
  entries_.push_back(
      {static_cast<uint32_t>(arena_.size()), static_cast<uint32_t>(text.size()), hash, id});
  arena_.append(text);
  if (static_cast<size_t>(id) >= entry_of_id_.size()) {
    entry_of_id_.resize(static_cast<size_t>(id) + 1, -1);
  }
  entry_of_id_[static_cast<size_t>(id)] = index;
  return known ? Added::kTextKnown : Added::kYes;
}

int32_t Vocabulary::find(std::string_view text) const {
  if (slots_.empty()) return -1;
  const uint32_t hash = hash_of(text);
  for (size_t at = hash & (slots_.size() - 1); slots_[at] >= 0;
       at = (at + 1) & (slots_.size() - 1)) {
    const Entry& entry = entries_[static_cast<size_t>(slots_[at])];
    if (entry.hash == hash && text_of(entry) == text) return entry.id;
  }
  return -1;
}

std::string_view Vocabulary::text(int32_t id) const {
  return has(id) ? text_of(entries_[static_cast<size_t>(entry_of_id_[static_cast<size_t>(id)])])
                 : std::string_view{};
}

void MergeTable::reserve(size_t merges) {
  const size_t slots = std::bit_ceil(std::max<size_t>(16, merges * 2));
  if (slots <= slots_.size()) return;
  std::vector<Slot> old(slots);
  old.swap(slots_);
  mask_ = slots - 1;
  shift_ = 64 - std::countr_zero(slots);
  for (const Slot& slot : old) {
    if (slot.key == kEmpty) continue;
    size_t at = slot_of(slot.key);
    while (slots_[at].key != kEmpty) at = (at + 1) & mask_;
    slots_[at] = slot;
  }
}

void MergeTable::set(int32_t left, int32_t right, Merge merge) {
  reserve(count_ + 1);
  const uint64_t key = pair_key(left, right);
  size_t at = slot_of(key);
  while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & mask_;
  if (slots_[at].key == kEmpty) ++count_;
  slots_[at] = {key, merge};
}

std::vector<MergeTable::Row> MergeTable::sorted() const {
  std::vector<Row> rows;
  rows.reserve(count_);
  for (const Slot& slot : slots_) {
    if (slot.key == kEmpty) continue;
    rows.push_back({static_cast<int32_t>(slot.key >> 32),
                    static_cast<int32_t>(slot.key & 0xFFFFFFFFU), slot.merge});
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return std::tie(a.merge.rank, a.left, a.right) < std::tie(b.merge.rank, b.left, b.right);
  });
  return rows;
}

}  // namespace twofold
