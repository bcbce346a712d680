#include "text/decoder.h"

#include "text/decode_stages.h"

namespace twofold {
namespace {

using DecoderPtr = std::unique_ptr<Decoder>;

class Sequence : public Decoder {
 public:
  explicit Sequence(const JsonNode& node) {
    node.expect_keys({"type", "decoders"});
    for (const JsonNode& member : node.get_list("decoders")) {
      if (member.is_null()) member.corrupt("expected an object, found null");
      members_.push_back(make_decoder(member));
    }
  }
  void append_stages(DecodeStages& stages) const override {
    for (const DecoderPtr& member : members_) member->append_stages(stages);
  }

 private:
  std::vector<DecoderPtr> members_;
};

/// A decoder that is one stage, made from what was read once.
template <class MakeStage>
class OneStage : public Decoder {
 public:
  explicit OneStage(MakeStage make) : make_(std::move(make)) {}
  void append_stages(DecodeStages& stages) const override { stages.push_back(make_()); }

 private:
  MakeStage make_;
};
template <class MakeStage>
DecoderPtr one_stage(MakeStage make) {
  return std::make_unique<OneStage<MakeStage>>(std::move(make));
}

template <class Stage>
DecoderPtr make_plain(const JsonNode& node) {
  node.expect_keys({"type"});
  return one_stage([] { return std::make_unique<Stage>(); });
}

DecoderPtr make_sequence(const JsonNode& node) { return std::make_unique<Sequence>(node); }

DecoderPtr make_byte_level(const JsonNode& node) {
  node.expect_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  return one_stage([] { return std::make_unique<ByteLevelStage>(); });
}

DecoderPtr make_replace(const JsonNode& node) {
  node.expect_keys({"type", "pattern", "content"});
  const auto pattern = std::make_shared<const Pattern>(node.child("pattern"));
  const std::string content = node.get_string("content");
  return one_stage([=] { return std::make_unique<ReplaceStage>(pattern, content); });
}

DecoderPtr make_strip(const JsonNode& node) {
  node.expect_keys({"type", "content", "start", "stop"});
  const std::string content = node.get_character("content");
  const int64_t start = node.get_int("start", 0, INT32_MAX);
  const int64_t stop = node.get_int("stop", 0, INT32_MAX);
  return one_stage([=] { return std::make_unique<StripStage>(content, start, stop); });
}

DecoderPtr make_metaspace(const JsonNode& node) {
  node.expect_keys(
      {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
  const std::string symbol = node.get_character("replacement", kSpaceSymbol);
  const bool old_prefix = node.get_bool("add_prefix_space", true);
  const std::string scheme =
      node.optional_string("prepend_scheme").value_or(old_prefix ? "always" : "never");
  return one_stage([=] { return std::make_unique<MetaspaceStage>(symbol, scheme != "never"); });
}

DecoderPtr make_suffix(const JsonNode& node) {
  node.expect_keys({"type", "suffix"});
  const std::string suffix = node.optional_string("suffix").value_or("</w>");
  if (suffix.empty()) node.child("suffix").corrupt("expected text, found none");
  return one_stage([=] { return std::make_unique<SuffixStage>(suffix); });
}

DecoderPtr make_word_piece(const JsonNode& node) {
  node.expect_keys({"type", "prefix", "cleanup"});
  const std::string prefix = node.get_string("prefix");
  const bool cleanup = node.get_bool("cleanup");
  return one_stage([=] { return std::make_unique<WordPieceStage>(prefix, cleanup); });
}

constexpr JsonKind<Decoder> kDecoders[] = {
    {"Sequence", make_sequence},
    {"ByteLevel", make_byte_level},
    {"ByteFallback", make_plain<ByteFallbackStage>},
    {"Fuse", make_plain<FuseStage>},
    {"Replace", make_replace},
    {"Strip", make_strip},
    {"Metaspace", make_metaspace},
    {"BPEDecoder", make_suffix},
    {"WordPiece", make_word_piece},
};

}  // namespace

DecoderPtr make_decoder(const JsonNode& node) {
  if (node.is_null()) return one_stage([] { return std::make_unique<JoinStage>(); });
  return make_kind(kDecoders, node);
}

DecoderPtr make_sentencepiece_decoder(SentencePieceDecoding options) {
  const auto shared = std::make_shared<const SentencePieceDecoding>(std::move(options));
  return one_stage([=] { return std::make_unique<SentencePieceStage>(shared); });
}

}  // namespace twofold
