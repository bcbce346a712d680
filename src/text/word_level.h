// WordLevel model: a piece is one token, or the unknown token. Thread-safe after construction.
#pragma once

#include <string>

#include "text/token_model.h"

namespace twofold {

class WordLevel : public TokenModel {
 public:
  /// Pieces that are no tokens give `unk_token`, or nothing if that is no token either.
  WordLevel(Vocabulary vocabulary, std::string unk_token)
      : vocabulary_(std::move(vocabulary)),
        unk_token_(std::move(unk_token)),
        unk_id_(vocabulary_.find(unk_token_)) {}

  void encode(std::string_view piece, std::vector<int32_t>& ids) const override {
    int32_t id = vocabulary_.find(piece);
    if (id < 0) id = unk_id_;
    if (id >= 0) ids.push_back(id);
  }
  size_t part_end(std::string_view piece, size_t) const override { return piece.size(); }
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  OrderedJson to_json(std::string_view where) const override;

 private:
  Vocabulary vocabulary_;
  std::string unk_token_;
  int32_t unk_id_;
};

}  // namespace twofold
