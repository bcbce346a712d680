#include "text/named_pre_tokenizers.h"

#include <iterator>
#include <string>

#include "text/json_node.h"
#include "text/pre_tokenizer.h"

namespace twofold {
namespace {

constexpr std::string_view kGpt2 = kGpt2Pattern;
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kBloom = R"( ?[^(\s|.,!?…。，、।۔،)]+)";

struct Row {
  std::string_view names;        // separated by spaces
  std::string_view patterns[5];  // each cuts what the one before left; empty: none
  bool ignore_merges = false;
  bool adds_bos = false;
};

// Patterns of the models' own tokenizer.json where that is known, else as llama.cpp applies them.
constexpr Row kRows[] = {
    {"gpt-2 gpt2 phi-2 mpt olmo jais trillion granite-docling exaone4 jina-es jina-de jina-v2-es "
     "jina-v2-de",
     {kGpt2}},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b", {R"(\p{N})", kGpt2}},
    {"llama-bpe llama3 llama-v3 falcon3", {kLlama3}, true, true},
    {"dbrx smaug-bpe glm4 chatglm-bpe", {kLlama3}},
    {"qwen2 stablelm2 deepseek-r1-qwen megrez", {kQwen2}},
    {"falcon", {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, "[0-9][0-9][0-9]"}},
    {"default", {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
    {"deepseek-coder",
     {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", R"([一-龥ࠀ-一가-퟿]+)", R"(\p{N})"}},
    {"poro-chat bloom gpt3-finnish", {kBloom}},
    {"viking", {kBloom, R"(\p{N})"}},
};

bool has_name(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    const size_t space = names.find(' ');
    if (names.substr(0, space) == name) return true;
    names.remove_prefix(space == std::string_view::npos ? names.size() : space + 1);
  }
  return false;
}

}  // namespace

NamedPreTokenizer find_named_pre_tokenizer(std::string_view name, std::string_view where) {
  std::string known;
  for (const Row& row : kRows) {
    append_name(known, row.names);
    if (!has_name(row.names, name.empty() ? "gpt-2" : name)) continue;
    Json steps = Json::array();
    for (const std::string_view pattern : row.patterns) {
      if (pattern.empty()) continue;
      steps.push_back({{"type", "Split"},
                       {"pattern", {{"Regex", pattern}}},
                       {"behavior", "Isolated"},
                       {"invert", false}});
    }
    steps.push_back({{"type", "ByteLevel"},
                     {"add_prefix_space", false},
                     {"trim_offsets", false},
                     {"use_regex", false}});
    return {{{"type", "Sequence"}, {"pretokenizers", steps}}, row.ignore_merges, row.adds_bos};
  }
  fail(ErrorCode::kUnsupported, where, "tokenizer.ggml.pre: '{}' is not one of: {}", name, known);
}

}  // namespace twofold
