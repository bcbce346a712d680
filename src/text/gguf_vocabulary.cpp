// Tokenizers inside GGUF files: kinds "gpt2" (byte-level BPE) and "llama" (SentencePiece BPE).
#include <algorithm>
#include <iterator>

#include "base/checked_math.h"
#include "text/bpe.h"
#include "text/named_pre_tokenizers.h"
#include "text/score_bpe.h"
#include "text/sentencepiece_parts.h"
#include "text/unicode.h"

namespace twofold {
namespace {

/// Values of tokenizer.ggml.token_type.
enum TokenType : int64_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

int64_t type_of(const GgufVocabulary& v, size_t id) {
  return v.token_types.empty() ? int64_t{kNormal} : v.token_types[id];
}

void check(const GgufVocabulary& v, std::string_view where) {
  const size_t count = v.tokens.size();
  if (count == 0) fail(ErrorCode::kCorruptFile, where, "tokenizer.ggml.tokens: none");
  checked_cast<int32_t>(count, where);
  if (!v.token_types.empty() && v.token_types.size() != count) {
    fail(ErrorCode::kCorruptFile, where, "tokenizer.ggml.token_type: expected {} values, found {}",
         count, v.token_types.size());
  }
  if (!v.scores.empty() && v.scores.size() != count) {
    fail(ErrorCode::kCorruptFile, where, "tokenizer.ggml.scores: expected {} values, found {}",
         count, v.scores.size());
  }
  for (size_t id = 0; id < count; ++id) {
    if (!is_utf8(v.tokens[id])) {
      fail(ErrorCode::kCorruptFile, where, "tokenizer.ggml.tokens: token {} is not UTF-8", id);
    }
    if (type_of(v, id) < kNormal || type_of(v, id) > kByte) {
      fail(ErrorCode::kCorruptFile, where, "tokenizer.ggml.token_type: token {} has type {}", id,
           type_of(v, id));
    }
  }
  for (const int32_t id : {v.bos_id, v.eos_id, v.unk_id}) {
    if (id < -1 || (id >= 0 && static_cast<size_t>(id) >= count)) {
      fail(ErrorCode::kCorruptFile, where, "special token id {} is out of range for {} tokens", id,
           count);
    }
  }
}

/// GGUF files have no flags of added tokens. llama.cpp knows by the model's name where control
/// tokens take the white space after them; so do its readers.
constexpr struct {
  std::string_view names[2];  // part of general.name, in lower case
  std::string_view also[1];   // tokens that are no control tokens
  std::string_view except_for[3];
} kStripped[] = {{{"phi-3", "phi3"}, {"</s>"}, {"<unk>", "<s>", "<|endoftext|>"}}};

void set_strip_flags(const GgufVocabulary& v, std::vector<AddedToken>& tokens) {
  std::string name = v.name;
  std::transform(name.begin(), name.end(), name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  const auto holds = [](const auto& list, std::string_view text) {
    return std::find(std::begin(list), std::end(list), text) != std::end(list);
  };
  for (const auto& row : kStripped) {
    const bool named = std::any_of(std::begin(row.names), std::end(row.names),
                                   [&](auto part) { return name.find(part) != std::string::npos; });
    if (!named) continue;
    for (AddedToken& token : tokens) {
      token.rstrip = (token.special || holds(row.also, token.content)) &&
                     !holds(row.except_for, token.content);
    }
  }
}

/// What both kinds have in common.
TokenizerParts common_parts(const GgufVocabulary& v) {
  TokenizerParts parts;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const int64_t type = type_of(v, id);
    const bool special = type == kControl || type == kUnknown;
    if (v.tokens[id].empty() || !(special || type == kUserDefined)) continue;
    parts.added.push_back(
        {.id = static_cast<int32_t>(id), .content = v.tokens[id], .special = special});
  }
  set_strip_flags(v, parts.added);
  parts.bos_id = v.bos_id;
  parts.eos_id = v.eos_id;
  parts.add_eos = v.add_eos;
  return parts;
}

MergeTable read_merges(const GgufVocabulary& v, const Vocabulary& vocabulary,
                       std::string_view where) {
  MergeTable merges;
  merges.reserve(v.merges.size());
  std::string joined;
  for (size_t rank = 0; rank < v.merges.size(); ++rank) {
    const std::string_view merge = v.merges[rank];
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos) {
      fail(ErrorCode::kCorruptFile, where,
           "tokenizer.ggml.merges: entry {}: expected \"left right\"", rank);
    }
    const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
    joined.assign(left).append(right);
    const int32_t left_id = vocabulary.find(left), right_id = vocabulary.find(right);
    const int32_t id = vocabulary.find(joined);
    if (left_id < 0 || right_id < 0 || id < 0) {
      fail(ErrorCode::kCorruptFile, where,
           "tokenizer.ggml.merges: entry {}: '{}', '{}' or '{}' is not in the vocabulary", rank,
           to_valid_utf8(left), to_valid_utf8(right), to_valid_utf8(joined));
    }
    merges.set(left_id, right_id, {static_cast<int32_t>(rank), id});
  }
  return merges;
}

std::unique_ptr<Tokenizer> make_byte_level(const GgufVocabulary& v, std::string_view where) {
  const NamedPreTokenizer named = find_named_pre_tokenizer(v.pre, where);
  TokenizerParts parts = common_parts(v);
  size_t bytes = 0;
  for (const std::string& token : v.tokens) bytes += token.size();
  Vocabulary vocabulary;
  vocabulary.reserve(v.tokens.size(), bytes);
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (vocabulary.add(v.tokens[id], static_cast<int32_t>(id)) != Vocabulary::Added::kYes) {
      fail(ErrorCode::kCorruptFile, where, "tokenizer.ggml.tokens: tokens {} and {} are both '{}'",
           vocabulary.find(v.tokens[id]), id, v.tokens[id]);
    }
  }
  MergeTable merges = read_merges(v, vocabulary, where);
  parts.model = std::make_unique<Bpe>(std::move(vocabulary), std::move(merges),
                                      BpeOptions{.ignore_merges = named.ignore_merges});
  parts.pre_tokenizer = named.pre_tokenizer;
  parts.decoder = {{"type", "ByteLevel"},
                   {"add_prefix_space", false},
                   {"trim_offsets", false},
                   {"use_regex", false}};
  parts.add_bos = v.add_bos.value_or(named.adds_bos);
  return build_tokenizer(std::move(parts), where);
}

std::unique_ptr<Tokenizer> make_sentencepiece(const GgufVocabulary& v, std::string_view where) {
  if (v.scores.empty()) fail(ErrorCode::kCorruptFile, where, "tokenizer.ggml.scores is missing");
  TokenizerParts parts = common_parts(v);
  std::vector<ScoredPiece> pieces;
  pieces.reserve(v.tokens.size());
  BpeOptions options{.fuse_unk = true};
  size_t unk = v.unk_id >= 0 ? static_cast<size_t>(v.unk_id) : v.tokens.size();
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const int64_t type = type_of(v, id);
    const bool joins = type == kNormal || type == kUserDefined || type == kUnused;
    pieces.push_back({v.tokens[id], v.scores[id], joins});
    options.byte_fallback = options.byte_fallback || type == kByte;
    if (type == kUnknown && unk == v.tokens.size()) unk = id;
  }
  if (unk < v.tokens.size()) options.unk_token = v.tokens[unk];
  const std::string space(kSpaceSymbol);
  const bool bytes = options.byte_fallback;
  parts.model = make_score_bpe(pieces, std::move(options), where);
  parts.normalizer = sentencepiece_normalizer(space, v.add_space_prefix);
  parts.decoder = sentencepiece_decoder_json(space, bytes, v.add_space_prefix);
  using Strip = SentencePieceDecoding::Strip;
  parts.own_decoder = make_sentencepiece_decoder(
      {.space = space,
       .strip = v.add_space_prefix ? Strip::kFirst : Strip::kNone,
       .byte_tokens = bytes,
       .restart = v.bos_id >= 0 ? v.tokens[static_cast<size_t>(v.bos_id)] : std::string()});
  parts.add_bos = v.add_bos.value_or(true);
  return build_tokenizer(std::move(parts), where);
}

constexpr struct {
  std::string_view model;
  std::unique_ptr<Tokenizer> (*make)(const GgufVocabulary& v, std::string_view where);
} kKinds[] = {{"gpt2", make_byte_level}, {"llama", make_sentencepiece}};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer_from_gguf(const GgufVocabulary& vocabulary,
                                                    std::string_view where) {
  check(vocabulary, where);
  std::string known;
  for (const auto& kind : kKinds) {
    if (kind.model == vocabulary.model) return kind.make(vocabulary, where);
    append_name(known, kind.model);
  }
  fail(ErrorCode::kUnsupported, where, "tokenizer.ggml.model: '{}' is not one of: {}",
       vocabulary.model, known);
}

}  // namespace twofold
