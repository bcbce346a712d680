// Reads Hugging Face's tokenizer.json.
#include "text/tokenizer_json.h"

#include <algorithm>

#include "text/bpe.h"
#include "text/pipeline_tokenizer.h"
#include "text/unigram.h"
#include "text/word_level.h"
#include "text/word_piece.h"

namespace twofold {
namespace {

/// The model's "vocab": an object of texts and ids.
Vocabulary read_vocabulary(const JsonNode& node) {
  if (!node.value().is_object()) node.corrupt("expected an object of tokens and ids");
  const Json::object_t& entries = node.value().get_ref<const Json::object_t&>();
  size_t bytes = 0;
  for (const auto& [text, id] : entries) bytes += text.size();
  Vocabulary vocabulary;
  vocabulary.reserve(entries.size(), bytes);
  const int64_t last = max_token_id(entries.size());
  for (const auto& [text, value] : entries) {
    const auto in_range = [&] {
      return value.is_number_unsigned() ? value.get<uint64_t>() <= static_cast<uint64_t>(last)
                                        : value.is_number_integer() && value.get<int64_t>() >= 0 &&
                                              value.get<int64_t>() <= last;
    };
    if (!in_range()) {
      node.corrupt(fmt::format("'{}': expected an id in [0, {}], found {}", text, last,
                               value.dump(-1, ' ', false, Json::error_handler_t::replace)));
    }
    if (vocabulary.add(text, value.get<int32_t>()) == Vocabulary::Added::kIdTaken) {
      node.corrupt(fmt::format("'{}' and '{}' have the same id {}", text,
                               vocabulary.text(value.get<int32_t>()), value.get<int32_t>()));
    }
  }
  return vocabulary;
}

/// One entry of "merges": "left right" or ["left", "right"].
std::pair<std::string_view, std::string_view> merge_sides(const JsonNode& node, size_t index) {
  const Json& entry = node.value()[index];
  if (entry.is_string()) {
    const std::string_view text = entry.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
             entry[1].is_string()) {
    return {entry[0].get_ref<const std::string&>(), entry[1].get_ref<const std::string&>()};
  }
  node.corrupt(fmt::format("entry {}: expected \"left right\" or [\"left\", \"right\"]", index));
}

MergeTable read_merges(const JsonNode& node, const Vocabulary& vocabulary,
                       std::string_view continuing_prefix) {
  if (!node.value().is_array()) node.corrupt("expected a list");
  MergeTable merges;
  merges.reserve(node.value().size());
  std::string joined;
  for (size_t rank = 0; rank < node.value().size(); ++rank) {
    const auto [left, right] = merge_sides(node, rank);
    if (right.size() < continuing_prefix.size()) {
      node.corrupt(fmt::format("entry {}: '{}' lacks the prefix", rank, right));
    }
    joined = left;
    joined += right.substr(continuing_prefix.size());
    const int32_t ids[] = {vocabulary.find(left), vocabulary.find(right), vocabulary.find(joined)};
    for (const int32_t id : ids) {
      if (id < 0) {
        node.corrupt(fmt::format("entry {}: '{}', '{}' or '{}' is not in the vocabulary", rank,
                                 left, right, joined));
      }
    }
    merges.set(ids[0], ids[1], {static_cast<int32_t>(rank), ids[2]});
  }
  return merges;
}

std::unique_ptr<TokenModel> read_bpe(const JsonNode& node) {
  node.expect_keys({"type", "dropout", "unk_token", "continuing_subword_prefix",
                    "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab",
                    "merges"});
  if (node.has("dropout")) {
    const JsonNode dropout = node.child("dropout");
    if (!dropout.value().is_number()) dropout.corrupt("expected a number");
    if (dropout.value().get<double>() != 0) dropout.unsupported("random merges");
  }
  BpeOptions options;
  options.unk_token = node.optional_string("unk_token").value_or("");
  options.continuing_subword_prefix =
      node.optional_string("continuing_subword_prefix").value_or("");
  options.end_of_word_suffix = node.optional_string("end_of_word_suffix").value_or("");
  options.fuse_unk = node.get_bool("fuse_unk", false);
  options.byte_fallback = node.get_bool("byte_fallback", false);
  options.ignore_merges = node.get_bool("ignore_merges", false);
  Vocabulary vocabulary = read_vocabulary(node.child("vocab"));
  if (!options.unk_token.empty() && vocabulary.find(options.unk_token) < 0) {
    node.child("unk_token").corrupt("'" + options.unk_token + "' is not in the vocabulary");
  }
  MergeTable merges =
      read_merges(node.child("merges"), vocabulary, options.continuing_subword_prefix);
  return std::make_unique<Bpe>(std::move(vocabulary), std::move(merges), std::move(options));
}

std::unique_ptr<TokenModel> read_word_level(const JsonNode& node) {
  node.expect_keys({"type", "vocab", "unk_token"});
  return std::make_unique<WordLevel>(read_vocabulary(node.child("vocab")),
                                     node.get_string("unk_token"));
}

std::unique_ptr<TokenModel> read_word_piece(const JsonNode& node) {
  node.expect_keys(
      {"type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"});
  WordPieceOptions options;
  options.unk_token = node.get_string("unk_token");
  options.continuing_subword_prefix = node.get_string("continuing_subword_prefix");
  options.max_input_chars_per_word = node.get_int("max_input_chars_per_word", 0, INT64_MAX);
  return std::make_unique<WordPiece>(read_vocabulary(node.child("vocab")), std::move(options),
                                     node.where());
}

std::unique_ptr<TokenModel> read_unigram(const JsonNode& node) {
  node.expect_keys({"type", "unk_id", "vocab", "byte_fallback"});
  UnigramOptions options;
  if (node.has("unk_id")) {
    options.unk_id = static_cast<int32_t>(node.get_int("unk_id", 0, INT32_MAX));
  }
  options.byte_fallback = node.get_bool("byte_fallback", false);
  const JsonNode list = node.child("vocab");
  if (!list.value().is_array()) list.corrupt("expected a list");
  std::vector<UnigramToken> tokens;
  tokens.reserve(list.value().size());
  for (size_t id = 0; id < list.value().size(); ++id) {
    const Json& entry = list.value()[id];
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      list.corrupt(fmt::format("entry {}: expected [token, score]", id));
    }
    tokens.push_back({entry[0].get<std::string>(), entry[1].get<double>()});
  }
  return std::make_unique<Unigram>(std::move(tokens), options, node.where());
}

constexpr JsonKind<TokenModel> kModels[] = {{"BPE", read_bpe},
                                            {"Unigram", read_unigram},
                                            {"WordLevel", read_word_level},
                                            {"WordPiece", read_word_piece}};

std::unique_ptr<TokenModel> read_model(const JsonNode& node) {
  // Files written by early versions have models without a type.
  if (!node.has("type") && node.has("vocab") && node.has("merges")) return read_bpe(node);
  if (!node.has("type") && node.has("vocab") && node.value().contains("unk_id")) {
    return read_unigram(node);
  }
  return make_kind(kModels, node);
}

std::vector<AddedToken> read_added_tokens(const JsonNode& node, const Vocabulary& vocabulary) {
  std::vector<AddedToken> tokens;
  if (!node.has("added_tokens")) return tokens;
  const std::vector<JsonNode> list = node.get_list("added_tokens");
  const int64_t last = max_token_id(list.size() + static_cast<size_t>(vocabulary.count()));
  for (const JsonNode& token : list) {
    token.expect_keys(
        {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    tokens.push_back(read_added_token(token, static_cast<int32_t>(token.get_int("id", 0, last))));
  }
  return tokens;
}

/// The configuration's tokens, of which the flags override those of the file, as the transformers
/// library has it; tokens that are only there are added.
void merge_added_tokens(const TokenizerConfig& config, const Vocabulary& vocabulary,
                        std::vector<AddedToken>& tokens, std::string_view where) {
  const int64_t last =
      max_token_id(tokens.size() + config.added_tokens.size() + size_t(vocabulary.count()));
  for (AddedToken token : config.added_tokens) {
    const auto same = std::find_if(tokens.begin(), tokens.end(), [&](const AddedToken& other) {
      return other.content == token.content;
    });
    if (same != tokens.end()) {
      token.id = same->id;
      *same = token;
      continue;
    }
    if (const int32_t known = vocabulary.find(token.content); known >= 0) token.id = known;
    if (token.id > last) {
      fail(ErrorCode::kCorruptFile, where, "added_tokens_decoder: '{}' has id {}, at most {}",
           token.content, token.id, last);
    }
    tokens.push_back(token);  // an id that is another token's is refused with the rest
  }
}

}  // namespace

std::unique_ptr<Tokenizer> build_from_json(const Json& json, const TokenizerConfig& config,
                                           std::string_view where) {
  const JsonNode node(json, "", where);
  node.expect_keys({"version", "truncation", "padding", "added_tokens", "normalizer",
                    "pre_tokenizer", "post_processor", "decoder", "model"});
  if (node.has("version") && node.get_string("version") != "1.0") {
    node.child("version").unsupported("'" + node.get_string("version") + "' is not 1.0");
  }
  TokenizerParts parts;
  parts.model = read_model(node.child("model"));
  parts.added = read_added_tokens(node, parts.model->vocabulary());
  merge_added_tokens(config, parts.model->vocabulary(), parts.added, where);
  // Truncation and padding are not read: how long a sequence may be is the caller's to say.
  const auto part = [&](std::string_view key) { return node.has(key) ? json[key] : Json(); };
  parts.normalizer = part("normalizer");
  parts.pre_tokenizer = part("pre_tokenizer");
  parts.post_processor = part("post_processor");
  parts.decoder = part("decoder");
  const auto id_of = [&](const std::optional<std::string>& token) {
    if (!token) return -1;
    for (const AddedToken& added : parts.added) {
      if (added.content == *token) return added.id;
    }
    return parts.model->vocabulary().find(*token);
  };
  parts.bos_id = id_of(config.bos_token);
  parts.eos_id = id_of(config.eos_token);
  parts.add_bos = config.add_bos_token;
  parts.add_eos = config.add_eos_token;
  return build_tokenizer(std::move(parts), where);
}

std::unique_ptr<Tokenizer> make_tokenizer_from_json(std::string_view tokenizer_json,
                                                    std::string_view tokenizer_config,
                                                    std::string_view where) {
  const TokenizerConfig config = read_tokenizer_config(tokenizer_config, where);
  return build_from_json(parse_json(tokenizer_json, where), config, where);
}

}  // namespace twofold
