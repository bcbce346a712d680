#include "text/bpe.h"

#include <algorithm>
#include <queue>

#include "text/unicode.h"

namespace twofold {
namespace {

/// Pieces of up to this many symbols are merged by scanning, which is faster than a queue.
constexpr size_t kScanLimit = 24;

std::string byte_token(unsigned byte) { return fmt::format("<0x{:02X}>", byte); }

}  // namespace

Bpe::Bpe(Vocabulary vocabulary, MergeTable merges, BpeOptions options, Vocabulary leaves)
    : vocabulary_(std::move(vocabulary)),
      merges_(std::move(merges)),
      options_(std::move(options)),
      leaves_(std::move(leaves)) {
  if (!options_.unk_token.empty()) unk_id_ = vocabulary_.find(options_.unk_token);
  for (unsigned byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = options_.byte_fallback ? vocabulary_.find(byte_token(byte)) : -1;
  }
  std::string character;
  for (char32_t code = 0; code < leaf_of_code_.size(); ++code) {
    character.clear();
    append_utf8(character, code);
    leaf_of_code_[code] = vocabulary_.find(character);
    if (leaf_of_code_[code] < 0) leaf_of_code_[code] = leaves_.find(character);
  }
  find_part_starts();
}

// A symbol for spaces usually stands only at the start of tokens. Then no merge joins it to what
// comes before, and a text without other boundaries falls into words that can be remembered.
void Bpe::find_part_starts() {
  const bool whole_pieces = options_.ignore_merges || !options_.continuing_subword_prefix.empty() ||
                            !options_.end_of_word_suffix.empty();
  if (whole_pieces) return;
  for (const std::string_view start : {kSpaceSymbol, std::string_view(" ")}) {
    if (vocabulary_.find(start) < 0) continue;
    bool inside = false;
    for (int32_t id = 0; id < vocabulary_.size() && !inside; ++id) {
      const std::string_view token = vocabulary_.text(id);
      size_t after = 0;
      while (token.compare(after, start.size(), start) == 0) after += start.size();
      inside = token.find(start, after) != std::string_view::npos;
    }
    if (!inside) part_starts_.emplace_back(start);
  }
}

size_t Bpe::part_end(std::string_view piece, size_t begin) const {
  size_t end = piece.size();
  for (const std::string& start : part_starts_) {
    size_t at = begin;
    while (piece.compare(at, start.size(), start) == 0) at += start.size();
    if (at < end) end = std::min(end, piece.find(start, at));
  }
  return end;
}

int32_t Bpe::find_leaf(std::string_view character) const {
  if (character.size() <= 2 && character_bytes(character, 0) == character.size()) {
    return leaf_of_code_[code_point(character, 0)];
  }
  const int32_t id = vocabulary_.find(character);
  return id >= 0 ? id : leaves_.find(character);
}

bool Bpe::append_fallback_bytes(std::string_view character, std::vector<int32_t>& symbols) const {
  if (!options_.byte_fallback) return false;
  for (const char byte : character) {
    if (byte_ids_[static_cast<unsigned char>(byte)] < 0) return false;
  }
  for (const char byte : character) symbols.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  return true;
}

void Bpe::append_leaves(std::string_view piece, std::vector<int32_t>& symbols) const {
  const std::string& prefix = options_.continuing_subword_prefix;
  const std::string& suffix = options_.end_of_word_suffix;
  // An unknown character whose token is still to be put: before the next known one, as the
  // original does.
  bool unknown = false;
  const auto put_unknown = [&] {
    if (unknown && unk_id_ >= 0) symbols.push_back(unk_id_);
    unknown = false;
  };
  std::string decorated;
  for (size_t at = 0; at < piece.size();) {
    const size_t bytes = character_bytes(piece, at);
    std::string_view character = piece.substr(at, bytes);
    const bool first = at == 0;
    at += bytes;
    const bool last = at == piece.size();
    if ((!first && !prefix.empty()) || (last && !suffix.empty())) {
      decorated = first ? "" : prefix;
      decorated += character;
      if (last) decorated += suffix;
      character = decorated;
    }
    const int32_t id = find_leaf(character);
    if (id >= 0) {
      put_unknown();
      symbols.push_back(id);
    } else if (!append_fallback_bytes(character, symbols)) {
      if (!options_.fuse_unk) put_unknown();
      unknown = true;
    }
  }
  put_unknown();
}

void Bpe::merge_short(std::vector<int32_t>& symbols) const {
  std::array<MergeTable::Merge, kScanLimit> found;  // of symbol i with symbol i + 1
  size_t count = symbols.size();
  for (size_t i = 0; i + 1 < count; ++i) found[i] = merges_.find(symbols[i], symbols[i + 1]);
  while (count > 1) {
    size_t best = count;
    for (size_t i = 0; i + 1 < count; ++i) {
      if (found[i].rank >= 0 && (best == count || found[i].rank < found[best].rank)) best = i;
    }
    if (best == count) break;
    symbols[best] = found[best].id;
    for (size_t i = best + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      found[i] = found[i + 1];
    }
    --count;
    if (best > 0) found[best - 1] = merges_.find(symbols[best - 1], symbols[best]);
    if (best + 1 < count) found[best] = merges_.find(symbols[best], symbols[best + 1]);
  }
  symbols.resize(count);
}

void Bpe::merge_long(std::vector<int32_t>& symbols) const {
  if (symbols.size() > size_t{INT32_MAX}) {
    fail(ErrorCode::kInvalidArgument, "text", "more than 2^31 characters without a boundary");
  }
  constexpr int32_t kGone = -1;
  const auto count = static_cast<int32_t>(symbols.size());
  std::vector<int32_t> previous(symbols.size()), next(symbols.size());
  struct Candidate {
    int32_t rank, at, left, right, id;
  };
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  };
  std::priority_queue<Candidate, std::vector<Candidate>, decltype(later)> queue(later);
  const auto offer = [&](int32_t at) {
    if (at < 0 || next[at] >= count) return;
    const MergeTable::Merge merge = merges_.find(symbols[at], symbols[next[at]]);
    if (merge.rank >= 0) queue.push({merge.rank, at, symbols[at], symbols[next[at]], merge.id});
  };
  for (int32_t i = 0; i < count; ++i) {
    previous[i] = i - 1;
    next[i] = i + 1;
  }
  for (int32_t i = 0; i < count; ++i) offer(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    // Outdated if one of the two has joined something since.
    if (symbols[top.at] != top.left || next[top.at] >= count ||
        symbols[next[top.at]] != top.right) {
      continue;
    }
    const int32_t gone = next[top.at];
    symbols[top.at] = top.id;
    symbols[gone] = kGone;
    next[top.at] = next[gone];
    if (next[gone] < count) previous[next[gone]] = top.at;
    offer(previous[top.at]);
    offer(top.at);
  }
  symbols.erase(std::remove(symbols.begin(), symbols.end(), kGone), symbols.end());
}

void Bpe::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  if (options_.ignore_merges) {
    const int32_t whole = vocabulary_.find(piece);
    if (whole >= 0) {
      ids.push_back(whole);
      return;
    }
  }
  std::vector<int32_t> symbols;
  symbols.reserve(piece.size());
  append_leaves(piece, symbols);
  if (symbols.size() <= kScanLimit) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
  const size_t start = ids.size();
  const auto first_leaf = static_cast<int32_t>(vocabulary_.size());
  for (const int32_t symbol : symbols) {
    int32_t id = symbol;
    if (symbol >= first_leaf) {
      if (append_fallback_bytes(leaves_.text(symbol), ids)) continue;
      id = unk_id_;
    }
    const bool fused =
        options_.fuse_unk && id == unk_id_ && ids.size() > start && ids.back() == unk_id_;
    if (id >= 0 && !fused) ids.push_back(id);
  }
}

OrderedJson Bpe::to_json(std::string_view where) const {
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? OrderedJson() : OrderedJson(text);
  };
  OrderedJson json;
  json["type"] = "BPE";
  json["dropout"] = nullptr;
  json["unk_token"] = text_or_null(options_.unk_token);
  json["continuing_subword_prefix"] = text_or_null(options_.continuing_subword_prefix);
  json["end_of_word_suffix"] = text_or_null(options_.end_of_word_suffix);
  json["fuse_unk"] = options_.fuse_unk;
  json["byte_fallback"] = options_.byte_fallback;
  json["ignore_merges"] = options_.ignore_merges;
  json["vocab"] = vocabulary_to_json(vocabulary_, where);
  OrderedJson merges = OrderedJson::array();
  const auto first_leaf = static_cast<int32_t>(vocabulary_.size());
  for (const MergeTable::Row& row : merges_.sorted()) {
    if (row.left >= first_leaf || row.right >= first_leaf) {
      fail(ErrorCode::kUnsupported, where, "token '{}' has a character that is no token",
           vocabulary_.text(row.merge.id));
    }
    merges.push_back({vocabulary_.text(row.left), vocabulary_.text(row.right)});
  }
  json["merges"] = std::move(merges);
  return json;
}

}  // namespace twofold
