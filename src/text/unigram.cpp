#include "text/unigram.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/unicode.h"

namespace twofold {
namespace {

/// How much worse than the worst token an unknown character is.
constexpr double kUnknownPenalty = 10.0;

}  // namespace

Unigram::Unigram(std::vector<UnigramToken> tokens, UnigramOptions options, std::string_view where)
    : options_(options) {
  const auto count = static_cast<int64_t>(tokens.size());
  if (options_.unk_id && (*options_.unk_id < 0 || *options_.unk_id >= count)) {
    fail(ErrorCode::kCorruptFile, where, "model.unk_id: {} is no token, there are {}",
         *options_.unk_id, count);
  }
  size_t bytes = 0;
  double lowest = std::numeric_limits<double>::infinity();
  for (size_t id = 0; id < tokens.size(); ++id) {
    const UnigramToken& token = tokens[id];
    if (token.text.size() > kLongestToken) {
      fail(ErrorCode::kUnsupported, where, "model.vocab[{}]: a token of {} bytes, at most {}", id,
           token.text.size(), kLongestToken);
    }
    if (!std::isfinite(token.score)) {
      fail(ErrorCode::kCorruptFile, where, "model.vocab[{}]: score {}, expected a number", id,
           token.score);
    }
    bytes += token.text.size();
    lowest = std::min(lowest, token.score);
    scores_.push_back(token.score);
  }
  unknown_score_ = lowest - kUnknownPenalty;
  vocabulary_.reserve(tokens.size(), bytes);
  std::vector<ByteTrie::Key> keys;
  keys.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (!tokens[id].text.empty()) keys.push_back({tokens[id].text, static_cast<int32_t>(id)});
  }
  trie_ = ByteTrie(std::move(keys));
  // From the last on, so that the last of equal texts is the one that is found.
  for (size_t id = tokens.size(); id-- > 0;) {
    vocabulary_.add(tokens[id].text, static_cast<int32_t>(id));
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = vocabulary_.find(fmt::format("<0x{:02X}>", byte));
  }
}

void Unigram::find_best(std::string_view piece, std::vector<Step>& steps) const {
  const auto offer = [&](size_t end, size_t start, int32_t id, double score) {
    Step& step = steps[end];
    if (step.start < 0 || score > step.score) step = {score, static_cast<int32_t>(start), id};
  };
  for (size_t start = 0; start < piece.size();) {
    const size_t next = start + character_bytes(piece, start);
    const double before = steps[start].score;
    bool known = false;  // the character by itself is a token
    uint32_t node = ByteTrie::kRoot;
    for (size_t at = start; at < piece.size();) {
      node = trie_.child(node, piece[at]);
      if (node == ByteTrie::kNowhere) break;
      ++at;
      const int32_t id = trie_.value(node);
      if (id < 0) continue;
      offer(at, start, id, scores_[static_cast<size_t>(id)] + before);
      known = known || at == next;
    }
    if (!known) {
      if (!options_.unk_id) {
        fail(ErrorCode::kInvalidArgument, "text",
             "'{}' is in no token, and the vocabulary has no unknown token",
             piece.substr(start, next - start));
      }
      offer(next, start, *options_.unk_id, unknown_score_ + before);
    }
    start = next;
  }
}

void Unigram::append_unknown(std::string_view text, std::vector<int32_t>& ids) const {
  const int32_t whole = vocabulary_.find(text);
  if (whole >= 0) return ids.push_back(whole);
  const auto id_of = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
  const bool has_bytes =
      options_.byte_fallback &&
      std::all_of(text.begin(), text.end(), [&](char c) { return id_of(c) >= 0; });
  if (!has_bytes) return ids.push_back(*options_.unk_id);
  for (const char byte : text) ids.push_back(id_of(byte));
}

void Unigram::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  if (piece.size() >= size_t{INT32_MAX}) {
    fail(ErrorCode::kInvalidArgument, "text", "more than 2^31 bytes without a boundary");
  }
  std::vector<Step> steps(piece.size() + 1);
  find_best(piece, steps);
  std::vector<size_t> ends;  // of the tokens of the best cut
  for (size_t end = piece.size(); end > 0; end = static_cast<size_t>(steps[end].start)) {
    ends.push_back(end);
  }
  std::reverse(ends.begin(), ends.end());
  // Unknown tokens in a row are one.
  size_t unknown = 0;  // bytes of them, before `start`
  size_t start = 0;
  const auto put_unknown = [&] {
    if (unknown > 0) append_unknown(piece.substr(start - unknown, unknown), ids);
    unknown = 0;
  };
  for (const size_t end : ends) {
    const int32_t id = steps[end].id;
    if (id == options_.unk_id) {
      unknown += end - start;
    } else {
      put_unknown();
      ids.push_back(id);
    }
    start = end;
  }
  put_unknown();
}

OrderedJson Unigram::to_json(std::string_view) const {
  OrderedJson json;
  json["type"] = "Unigram";
  json["unk_id"] = options_.unk_id ? OrderedJson(*options_.unk_id) : OrderedJson();
  json["vocab"] = OrderedJson::array();
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    json["vocab"].push_back(
        OrderedJson::array({std::string(vocabulary_.text(id)), scores_[static_cast<size_t>(id)]}));
  }
  json["byte_fallback"] = options_.byte_fallback;
  return json;
}

}  // namespace twofold
