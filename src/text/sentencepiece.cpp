// SentencePiece BPE models (Kudo and Richardson, arXiv:1808.06226), with the identity normalizer.
#include <cmath>
#include <set>

#include "text/score_bpe.h"
#include "text/sentencepiece_model.h"
#include "text/sentencepiece_parts.h"
#include "text/unicode.h"

namespace twofold {
namespace {

using Model = SentencePieceModel;

void check(const Model& model, std::string_view where) {
  constexpr const char* kTypes[] = {"unigram", "bpe", "word", "char"};
  const int64_t type = model.model_type;
  if (type < Model::kUnigram || type > Model::kChar) {
    fail(ErrorCode::kCorruptFile, where, "trainer_spec.model_type: {}", type);
  }
  if (type != Model::kBpe) {
    fail(ErrorCode::kUnsupported, where, "trainer_spec.model_type: {} is not supported, only bpe",
         kTypes[type - 1]);
  }
  if (model.has_charsmap) {
    fail(ErrorCode::kUnsupported, where,
         "normalizer_spec: '{}' maps characters, only identity is supported",
         to_valid_utf8(model.normalizer_name));
  }
  if (!model.escape_whitespaces) {
    fail(ErrorCode::kUnsupported, where, "normalizer_spec.escape_whitespaces: false");
  }
  if (model.treat_whitespace_as_suffix) {
    fail(ErrorCode::kUnsupported, where, "trainer_spec.treat_whitespace_as_suffix: true");
  }
  std::set<std::string_view> texts;
  int64_t unknown = 0;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const Model::Piece& piece = model.pieces[id];
    if (piece.text.empty() || !is_utf8(piece.text)) {
      fail(ErrorCode::kCorruptFile, where, "piece {}: empty or not UTF-8", id);
    }
    if (!texts.insert(piece.text).second) {
      fail(ErrorCode::kCorruptFile, where, "piece {}: '{}' is given twice", id, piece.text);
    }
    if (piece.type == Model::kUnused) {
      fail(ErrorCode::kUnsupported, where, "piece {}: type unused", id);
    }
    unknown += piece.type == Model::kUnknown;
  }
  if (unknown != 1) {
    fail(ErrorCode::kCorruptFile, where, "expected one piece of type unknown, found {}", unknown);
  }
}

/// Spaces at the ends go, several become one; then as every SentencePiece text.
Json normalizer_of(const Model& model, const std::string& space) {
  Json normalizer = sentencepiece_normalizer(space, model.add_dummy_prefix);
  if (!model.remove_extra_whitespaces) return normalizer;
  Json steps = Json::array();
  const auto replace = [&](const char* pattern, const char* content) {
    steps.push_back({{"type", "Replace"}, {"pattern", {{"Regex", pattern}}}, {"content", content}});
  };
  replace(R"(\A +| +\z)", "");
  replace(" {2,}", " ");
  for (const Json& step : normalizer["normalizers"]) steps.push_back(step);
  normalizer["normalizers"] = std::move(steps);
  return normalizer;
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer_from_sentencepiece(std::string_view bytes,
                                                             std::string_view where) {
  const Model model = parse_sentencepiece_model(bytes, where);
  if (model.pieces.empty()) {
    fail(ErrorCode::kCorruptFile, where, "expected a SentencePiece model, found no pieces");
  }
  check(model, where);
  const std::string space(kSpaceSymbol);
  TokenizerParts parts;
  std::vector<ScoredPiece> pieces;
  pieces.reserve(model.pieces.size());
  BpeOptions options{.fuse_unk = true, .byte_fallback = model.byte_fallback};
  SentencePieceDecoding decoding{.space = space, .byte_tokens = model.byte_fallback};
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const Model::Piece& piece = model.pieces[i];
    const auto id = static_cast<int32_t>(i);
    const bool user = piece.type == Model::kUserDefined;
    pieces.push_back({piece.text, piece.score, piece.type == Model::kNormal || user});
    if (piece.type == Model::kUnknown) {
      options.unk_token = piece.text;
      decoding.surfaces[piece.text] = model.unk_surface;
    }
    if (piece.type == Model::kControl) {
      decoding.surfaces[piece.text] = "";
      if (piece.text == model.bos_piece) parts.bos_id = id;
      if (piece.text == model.eos_piece) parts.eos_id = id;
    }
    if (user) parts.no_export = "user-defined pieces have no exact form in tokenizer.json";
    if (user || piece.type == Model::kControl || piece.type == Model::kUnknown) {
      // User-defined pieces are looked for after the space is put before the whole text.
      parts.added.push_back(
          {.id = id, .content = piece.text, .special = !user, .normalized = user});
    }
  }
  parts.normalize_added = false;
  parts.model = make_score_bpe(pieces, std::move(options), where);
  parts.normalizer = normalizer_of(model, space);
  const bool strips = model.add_dummy_prefix || model.remove_extra_whitespaces;
  parts.decoder = sentencepiece_decoder_json(space, model.byte_fallback, strips);
  using Strip = SentencePieceDecoding::Strip;
  decoding.strip = model.remove_extra_whitespaces ? Strip::kEvery
                   : model.add_dummy_prefix       ? Strip::kFirst
                                                  : Strip::kNone;
  parts.own_decoder = make_sentencepiece_decoder(std::move(decoding));
  // The file does not say it, but models with this kind of file are run from BOS.
  parts.add_bos = parts.bos_id >= 0;
  return build_tokenizer(std::move(parts), where);
}

}  // namespace twofold
