// The fields of a SentencePiece model file (protobuf, sentencepiece_model.proto) that decide ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace twofold {

struct SentencePieceModel {
  enum PieceType : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };
  struct Piece {
    std::string text;
    float score = 0;
    int32_t type = kNormal;
  };
  std::vector<Piece> pieces;

  enum ModelType : int64_t { kUnigram = 1, kBpe, kWord, kChar };
  int64_t model_type = kUnigram;
  bool treat_whitespace_as_suffix = false;
  bool byte_fallback = false;
  std::string unk_surface = " \xE2\x81\x87 ";
  std::string bos_piece = "<s>", eos_piece = "</s>";

  std::string normalizer_name;
  bool has_charsmap = false;  // normalizer or denormalizer
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

/// Reads the wire format; unknown fields are skipped. @throws Error(kCorruptFile) naming `where`.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes, std::string_view where);

}  // namespace twofold
