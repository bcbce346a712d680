#include "text/score_bpe.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/unicode.h"

namespace twofold {
namespace {

/// Rank of each piece: pieces of the same score share one, the best score has rank 0.
std::vector<int32_t> ranks_of(const std::vector<ScoredPiece>& pieces) {
  std::vector<double> scores;
  scores.reserve(pieces.size());
  for (const ScoredPiece& piece : pieces) scores.push_back(piece.score);
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  std::vector<int32_t> ranks;
  ranks.reserve(pieces.size());
  for (const ScoredPiece& piece : pieces) {
    const auto place =
        std::lower_bound(scores.begin(), scores.end(), piece.score, std::greater<>());
    ranks.push_back(static_cast<int32_t>(place - scores.begin()));
  }
  return ranks;
}

}  // namespace

std::unique_ptr<TokenModel> make_score_bpe(const std::vector<ScoredPiece>& pieces,
                                           BpeOptions options, std::string_view where) {
  size_t bytes = 0;
  for (const ScoredPiece& piece : pieces) bytes += piece.text.size();
  Vocabulary vocabulary;
  vocabulary.reserve(pieces.size(), bytes);
  for (size_t i = 0; i < pieces.size(); ++i) {
    const ScoredPiece& piece = pieces[i];
    if (!std::isfinite(piece.score)) {
      fail(ErrorCode::kCorruptFile, where, "token {}: score {}, expected a number", i, piece.score);
    }
    if (!is_utf8(piece.text)) {
      fail(ErrorCode::kCorruptFile, where, "token {}: text is not UTF-8", i);
    }
    vocabulary.add(piece.text, static_cast<int32_t>(i));
  }
  // Texts that may take part in a merge: pieces that join, and characters that are no such piece.
  Vocabulary leaves;
  const auto symbol_of = [&](std::string_view text) {
    const int32_t id = vocabulary.find(text);
    if (id >= 0 && pieces[static_cast<size_t>(id)].joins) return id;
    if (id >= 0 || character_bytes(text, 0) != text.size()) return -1;
    int32_t leaf = leaves.find(text);
    if (leaf < 0) {
      leaf = static_cast<int32_t>(vocabulary.size() + leaves.count());
      leaves.add(text, leaf);
    }
    return leaf;
  };
  const std::vector<int32_t> ranks = ranks_of(pieces);
  MergeTable merges;
  merges.reserve(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    const std::string_view text = pieces[i].text;
    if (!pieces[i].joins || vocabulary.find(text) != static_cast<int32_t>(i)) continue;
    for (size_t at = 0; at < text.size();) {
      at += character_bytes(text, at);
      if (at == text.size()) break;
      const int32_t left = symbol_of(text.substr(0, at));
      const int32_t right = left < 0 ? -1 : symbol_of(text.substr(at));
      if (right >= 0) merges.set(left, right, {ranks[i], static_cast<int32_t>(i)});
    }
  }
  return std::make_unique<Bpe>(std::move(vocabulary), std::move(merges), std::move(options),
                               std::move(leaves));
}

}  // namespace twofold
