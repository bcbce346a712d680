// Byte-pair encoding: a piece starts as its characters, then the adjacent pair of lowest rank joins
// (the leftmost of equals) until no pair has a rank. Sennrich et al., arXiv:1508.07909; details as
// in Hugging Face `tokenizers`. SentencePiece BPE is the same with ranks from scores.
#pragma once

#include <array>
#include <string>

#include "text/token_model.h"

namespace twofold {

struct BpeOptions {
  std::string unk_token = {};  // empty: unknown characters give nothing
  std::string continuing_subword_prefix =
      {};                               // put before every character but the first of a piece
  std::string end_of_word_suffix = {};  // put after the last character of a piece
  bool fuse_unk = false;                // unknown characters in a row give one unk_token
  bool byte_fallback = false;  // unknown characters become tokens <0x00> to <0xFF> where all exist
  bool ignore_merges = false;  // a piece that is a token is that token, merges or not
};

class Bpe : public TokenModel {
 public:
  /// @param vocabulary all tokens.
  /// @param merges     pairs of ids of `vocabulary` or `leaves`.
  /// @param leaves     characters that merges start from but that are no tokens; ids from
  ///                   vocabulary.size() on. Left over, they are unknown characters.
  Bpe(Vocabulary vocabulary, MergeTable merges, BpeOptions options, Vocabulary leaves = {});

  void encode(std::string_view piece, std::vector<int32_t>& ids) const override;
  size_t part_end(std::string_view piece, size_t begin) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  OrderedJson to_json(std::string_view where) const override;

 private:
  void append_leaves(std::string_view piece, std::vector<int32_t>& symbols) const;
  bool append_fallback_bytes(std::string_view character, std::vector<int32_t>& symbols) const;
  int32_t find_leaf(std::string_view character) const;
  void merge_short(std::vector<int32_t>& symbols) const;
  void merge_long(std::vector<int32_t>& symbols) const;
  void find_part_starts();

  Vocabulary vocabulary_;
  MergeTable merges_;
  BpeOptions options_;
  Vocabulary leaves_;
  int32_t unk_id_ = -1;
  std::array<int32_t, 256> byte_ids_;        // of <0x00> to <0xFF>; -1: no such token
  std::array<int32_t, 0x800> leaf_of_code_;  // of characters of one and two bytes
  std::vector<std::string> part_starts_;     // characters no token has inside, see part_end
};

}  // namespace twofold
