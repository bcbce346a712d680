#include "text/pipeline_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "text/unicode.h"

namespace twofold {
namespace {

/// Ids of parts seen before in one call of encode.
class PartCache {
 public:
  void encode(const TokenModel& model, std::string_view part, std::vector<int32_t>& ids) {
    if (part.size() > kLongestPart) return model.encode(part, ids);
    const auto known = spans_.find(part);
    if (known != spans_.end()) {
      const auto begin = pool_.begin() + static_cast<std::ptrdiff_t>(known->second.begin);
      ids.insert(ids.end(), begin, begin + known->second.count);
      return;
    }
    const size_t before = ids.size();
    model.encode(part, ids);
    if (spans_.size() >= kMostParts) return;
    spans_.emplace(part, Span{pool_.size(), static_cast<int32_t>(ids.size() - before)});
    pool_.insert(pool_.end(), ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end());
  }

 private:
  static constexpr size_t kLongestPart = 64;  // bytes
  static constexpr size_t kMostParts = size_t{1} << 17;
  struct Span {
    size_t begin;
    int32_t count;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_map<std::string, Span, Hash, std::equal_to<>> spans_;
  std::vector<int32_t> pool_;
};

class TextSink : public DecodeStage {
 public:
  void part(std::string_view text, bool) override { text_ += text; }
  void finish() override {}
  std::string take() {
    std::string text = std::move(text_);
    text_.clear();
    return text;
  }

 private:
  std::string text_;
};

class PipelineTokenizer final : public Tokenizer {
 public:
  PipelineTokenizer(TokenizerParts parts, std::string_view where);

  std::vector<int32_t> encode(std::string_view text, EncodeOptions options) const override;
  std::string decode(std::span<const int32_t> ids, bool skip_special) const override;
  std::unique_ptr<DecodeStream> decode_stream(bool skip_special) const override;
  int64_t vocab_size() const override { return vocab_size_; }
  std::string token_text(int32_t id) const override { return std::string(text_of(id)); }
  int32_t token_id(std::string_view token) const override;
  bool is_special(int32_t id) const override {
    const AddedToken* token = added_.find(id);
    return token != nullptr && token->special;
  }
  bool is_added(int32_t id) const override { return added_.find(id) != nullptr; }
  std::string to_json() const override;

  std::string_view text_of(int32_t id) const {
    const AddedToken* token = added_.find(id);
    return token != nullptr ? std::string_view(token->content) : model().vocabulary().text(id);
  }
  /// What decoders get.
  std::string_view form_of(int32_t id) const {
    return added_.find(id) != nullptr ? added_.form(id) : model().vocabulary().text(id);
  }
  const Decoder& decoder() const { return parts_.own_decoder ? *parts_.own_decoder : *decoder_; }

 private:
  const TokenModel& model() const { return *parts_.model; }
  void check_added() const;
  void settle_special_ids();
  void encode_valid(std::string_view text, bool first, EncodeOptions options, PartCache& cache,
                    std::vector<int32_t>& ids) const;
  void encode_between(std::string_view text, bool first, EncodeOptions options, PartCache& cache,
                      std::vector<int32_t>& ids) const;
  void encode_piece(std::string_view piece, PartCache& cache, std::vector<int32_t>& ids) const;

  std::string where_;
  TokenizerParts parts_;
  std::unique_ptr<Normalizer> normalizer_;
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  std::unique_ptr<Decoder> decoder_;
  AddedTokens added_;
  SpecialIds special_;
  int64_t vocab_size_ = 0;
  bool byte_level_ = false;
};

PipelineTokenizer::PipelineTokenizer(TokenizerParts parts, std::string_view where)
    : where_(where), parts_(std::move(parts)) {
  normalizer_ = make_normalizer({parts_.normalizer, "normalizer", where});
  pre_tokenizer_ = make_pre_tokenizer({parts_.pre_tokenizer, "pre_tokenizer", where});
  decoder_ = make_decoder({parts_.decoder, "decoder", where});
  byte_level_ = (normalizer_ && normalizer_->is_byte_level()) ||
                (pre_tokenizer_ && pre_tokenizer_->is_byte_level());
  check_added();
  added_ =
      AddedTokens(std::move(parts_.added), parts_.normalize_added ? normalizer_.get() : nullptr);
  vocab_size_ = model().vocabulary().size();
  for (const AddedToken& token : added_.tokens()) {
    vocab_size_ = std::max<int64_t>(vocab_size_, token.id + 1);
  }
  settle_special_ids();
}

void PipelineTokenizer::check_added() const {
  const Vocabulary& vocabulary = model().vocabulary();
  std::map<int32_t, std::string_view> seen;
  for (const AddedToken& token : parts_.added) {
    const int32_t known = vocabulary.find(token.content);
    if (known >= 0 && known != token.id) {
      fail(ErrorCode::kCorruptFile, where_, "added_tokens: '{}' has id {}, in the vocabulary {}",
           token.content, token.id, known);
    }
    if (vocabulary.has(token.id) && vocabulary.text(token.id) != token.content) {
      fail(ErrorCode::kCorruptFile, where_, "added_tokens: id {} is '{}', in the vocabulary '{}'",
           token.id, token.content, vocabulary.text(token.id));
    }
    if (!seen.emplace(token.id, token.content).second) {
      fail(ErrorCode::kCorruptFile, where_, "added_tokens: id {} is given twice", token.id);
    }
  }
}

void PipelineTokenizer::settle_special_ids() {
  special_ = read_post_processor({parts_.post_processor, "post_processor", where_});
  const auto check = [&](int32_t id, std::string_view what) {
    if (added_.find(id) == nullptr && !model().vocabulary().has(id)) {
      fail(ErrorCode::kCorruptFile, where_, "{}: {} is no token of the vocabulary", what, id);
    }
  };
  for (const int32_t id : special_.prefix) check(id, "post_processor");
  for (const int32_t id : special_.suffix) check(id, "post_processor");
  if (parts_.bos_id >= 0) check(parts_.bos_id, "BOS id");
  if (parts_.eos_id >= 0) check(parts_.eos_id, "EOS id");
  bos_id_ = parts_.bos_id;
  eos_id_ = parts_.eos_id;
  if (parts_.add_bos && bos_id_ >= 0) {
    const bool has = !special_.prefix.empty() && special_.prefix.front() == bos_id_;
    if (*parts_.add_bos && !has) special_.prefix.insert(special_.prefix.begin(), bos_id_);
    if (!*parts_.add_bos && has) special_.prefix.erase(special_.prefix.begin());
  }
  if (parts_.add_eos && eos_id_ >= 0) {
    const bool has = !special_.suffix.empty() && special_.suffix.back() == eos_id_;
    if (*parts_.add_eos && !has) special_.suffix.push_back(eos_id_);
    if (!*parts_.add_eos && has) special_.suffix.pop_back();
  }
  if (bos_id_ < 0 && !special_.prefix.empty()) bos_id_ = special_.prefix.front();
  if (eos_id_ < 0 && !special_.suffix.empty()) eos_id_ = special_.suffix.back();
  adds_bos_ = !special_.prefix.empty() && special_.prefix.front() == bos_id_;
}

std::vector<int32_t> PipelineTokenizer::encode(std::string_view text, EncodeOptions options) const {
  std::vector<int32_t> ids;
  PartCache cache;
  if (options.add_special) ids = special_.prefix;
  std::string repaired;
  if (!byte_level_ && !is_utf8(text)) {
    repaired = to_valid_utf8(text);
    text = repaired;
  }
  bool first = true;
  while (!text.empty()) {
    const size_t valid = valid_utf8_prefix(text);
    encode_valid(text.substr(0, valid), first, options, cache, ids);
    text.remove_prefix(valid);
    first = false;
    // Bytes that are no characters reach a byte-level model by themselves.
    std::string characters;
    while (!text.empty()) {
      const Utf8Unit unit = utf8_unit(text, 0);
      if (unit.valid) break;
      append_byte_characters(characters, text.substr(0, unit.bytes));
      text.remove_prefix(unit.bytes);
    }
    encode_piece(characters, cache, ids);
  }
  if (options.add_special) {
    ids.insert(ids.end(), special_.suffix.begin(), special_.suffix.end());
  }
  return ids;
}

void PipelineTokenizer::encode_valid(std::string_view text, bool first, EncodeOptions options,
                                     PartCache& cache, std::vector<int32_t>& ids) const {
  std::vector<AddedTokens::Section> sections;
  added_.split(text, AddedTokens::Stage::kRawText, options.parse_special, sections);
  for (const AddedTokens::Section& section : sections) {
    if (section.id >= 0) {
      ids.push_back(section.id);
    } else {
      encode_between(text.substr(section.begin, section.end - section.begin),
                     first && section.begin == 0, options, cache, ids);
    }
  }
}

void PipelineTokenizer::encode_between(std::string_view text, bool first, EncodeOptions options,
                                       PartCache& cache, std::vector<int32_t>& ids) const {
  std::string normalized(text);
  if (normalizer_ && !normalizer_->apply(normalized)) first = false;
  std::vector<AddedTokens::Section> sections;
  added_.split(normalized, AddedTokens::Stage::kNormalizedText, options.parse_special, sections);
  for (const AddedTokens::Section& section : sections) {
    if (section.id >= 0) {
      ids.push_back(section.id);
      continue;
    }
    Pieces pieces;
    pieces.text = normalized.substr(section.begin, section.end - section.begin);
    pieces.pieces.push_back({0, pieces.text.size(), first && section.begin == 0});
    if (pre_tokenizer_) pre_tokenizer_->apply(pieces);
    for (const Pieces::Piece& piece : pieces.pieces) encode_piece(pieces.view(piece), cache, ids);
  }
}

void PipelineTokenizer::encode_piece(std::string_view piece, PartCache& cache,
                                     std::vector<int32_t>& ids) const {
  for (size_t begin = 0; begin < piece.size();) {
    const size_t end = model().part_end(piece, begin);
    cache.encode(model(), piece.substr(begin, end - begin), ids);
    begin = end;
  }
}

class PipelineStream final : public DecodeStream {
 public:
  PipelineStream(const PipelineTokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer), skip_special_(skip_special) {
    start();
  }
  std::string push(int32_t id) override {
    put(id);
    return sink_.take();
  }
  std::string flush() override {
    head_->finish();
    start();
    return sink_.take();
  }
  void put(int32_t id) {
    if (skip_special_ && tokenizer_.is_special(id)) return;
    const std::string_view text = tokenizer_.form_of(id);
    if (!text.empty()) head_->part(text, true);
  }

 private:
  void start() {
    stages_.clear();
    tokenizer_.decoder().append_stages(stages_);
    head_ = &sink_;
    for (auto stage = stages_.rbegin(); stage != stages_.rend(); ++stage) {
      (*stage)->set_next(head_);
      head_ = stage->get();
    }
  }

  const PipelineTokenizer& tokenizer_;
  bool skip_special_;
  DecodeStages stages_;
  TextSink sink_;
  DecodeStage* head_ = nullptr;
};

std::unique_ptr<DecodeStream> PipelineTokenizer::decode_stream(bool skip_special) const {
  return std::make_unique<PipelineStream>(*this, skip_special);
}

std::string PipelineTokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  PipelineStream stream(*this, skip_special);
  for (const int32_t id : ids) stream.put(id);
  return stream.flush();
}

int32_t PipelineTokenizer::token_id(std::string_view token) const {
  const AddedToken* added = added_.find(token);
  return added != nullptr ? added->id : model().vocabulary().find(token);
}

std::string PipelineTokenizer::to_json() const {
  if (!parts_.no_export.empty()) fail(ErrorCode::kUnsupported, where_, parts_.no_export);
  OrderedJson json;
  json["version"] = "1.0";
  json["truncation"] = nullptr;
  json["padding"] = nullptr;
  json["added_tokens"] = OrderedJson::array();
  std::vector<const AddedToken*> tokens;
  for (const AddedToken& token : added_.tokens()) tokens.push_back(&token);
  std::sort(tokens.begin(), tokens.end(),
            [](const AddedToken* a, const AddedToken* b) { return a->id < b->id; });
  for (const AddedToken* token : tokens) {
    json["added_tokens"].push_back({{"id", token->id},
                                    {"content", token->content},
                                    {"single_word", token->single_word},
                                    {"lstrip", token->lstrip},
                                    {"rstrip", token->rstrip},
                                    {"normalized", token->normalized},
                                    {"special", token->special}});
  }
  json["normalizer"] = parts_.normalizer;
  json["pre_tokenizer"] = parts_.pre_tokenizer;
  json["post_processor"] = parts_.post_processor;
  if (!special_.prefix.empty() || !special_.suffix.empty()) {
    OrderedJson single = OrderedJson::array();
    OrderedJson special = OrderedJson::object();
    const auto put = [&](int32_t id) {
      const std::string name(text_of(id));
      single.push_back({{"SpecialToken", {{"id", name}, {"type_id", 0}}}});
      special[name] = {
          {"id", name}, {"ids", OrderedJson::array({id})}, {"tokens", OrderedJson::array({name})}};
    };
    for (const int32_t id : special_.prefix) put(id);
    single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
    for (const int32_t id : special_.suffix) put(id);
    OrderedJson pair = single;
    pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
    json["post_processor"] = {{"type", "TemplateProcessing"},
                              {"single", single},
                              {"pair", pair},
                              {"special_tokens", special}};
  }
  json["decoder"] = parts_.decoder;
  json["model"] = model().to_json(where_);
  return dump_json(json);
}

}  // namespace

std::unique_ptr<Tokenizer> build_tokenizer(TokenizerParts parts, std::string_view where) {
  return std::make_unique<PipelineTokenizer>(std::move(parts), where);
}

}  // namespace twofold
