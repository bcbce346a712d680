#include "text/post_processor.h"

namespace twofold {
namespace {

using SpecialIdsPtr = std::unique_ptr<SpecialIds>;

SpecialIdsPtr read_byte_level(const JsonNode& node) {
  node.expect_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  return std::make_unique<SpecialIds>();
}

SpecialIdsPtr read_template(const JsonNode& node) {
  node.expect_keys({"type", "single", "pair", "special_tokens"});
  auto result = std::make_unique<SpecialIds>();
  bool after = false;
  for (const JsonNode& part : node.get_list("single")) {
    part.expect_keys({"SpecialToken", "Sequence"});
    if (part.value().size() != 1) part.corrupt("expected either SpecialToken or Sequence");
    if (part.has("Sequence")) {
      const JsonNode sequence = part.child("Sequence");
      if (sequence.get_string("id") != "A") sequence.unsupported("expected sequence A");
      if (after) sequence.unsupported("the sequence is used twice");
      after = true;
      continue;
    }
    const std::string name = part.child("SpecialToken").get_string("id");
    const JsonNode token = node.child("special_tokens").child(name);
    for (const JsonNode& id : token.get_list("ids")) {
      (after ? result->suffix : result->prefix)
          .push_back(static_cast<int32_t>(id.as_int(0, INT32_MAX)));
    }
  }
  if (!after) node.child("single").corrupt("no Sequence among its parts");
  return result;
}

int32_t pair_id(const JsonNode& node, std::string_view key) {
  const std::vector<JsonNode> pair = node.get_list(key);
  if (pair.size() != 2) node.child(key).corrupt("expected a pair of text and id");
  return static_cast<int32_t>(pair[1].as_int(0, INT32_MAX));
}

SpecialIdsPtr read_cls_sep(const JsonNode& node) {
  node.expect_keys({"type", "sep", "cls", "trim_offsets", "add_prefix_space"});
  auto result = std::make_unique<SpecialIds>();
  result->prefix.push_back(pair_id(node, "cls"));
  result->suffix.push_back(pair_id(node, "sep"));
  return result;
}

SpecialIdsPtr read_sequence(const JsonNode& node) {
  node.expect_keys({"type", "processors"});
  auto result = std::make_unique<SpecialIds>();
  for (const JsonNode& member : node.get_list("processors")) {
    if (member.is_null()) member.corrupt("expected an object, found null");
    const SpecialIds ids = read_post_processor(member);
    result->prefix.insert(result->prefix.begin(), ids.prefix.begin(), ids.prefix.end());
    result->suffix.insert(result->suffix.end(), ids.suffix.begin(), ids.suffix.end());
  }
  return result;
}

constexpr JsonKind<SpecialIds> kPostProcessors[] = {
    {"TemplateProcessing", read_template}, {"ByteLevel", read_byte_level},
    {"BertProcessing", read_cls_sep},      {"RobertaProcessing", read_cls_sep},
    {"Sequence", read_sequence},
};

}  // namespace

SpecialIds read_post_processor(const JsonNode& node) {
  return node.is_null() ? SpecialIds{} : *make_kind(kPostProcessors, node);
}

}  // namespace twofold
