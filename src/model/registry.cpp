#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/families.h"

namespace twofold {
namespace {

constexpr std::array kFamilies = {&kGpt2Family, &kLlamaFamily};

struct RoleName {
  Role role;
  std::string_view name;
  bool block_linear;
};
constexpr std::array kRoleNames = {
    RoleName{Role::kEmbedding, "embedding", false},
    RoleName{Role::kPosition, "position", false},
    RoleName{Role::kHead, "head", false},
    RoleName{Role::kNorm, "norm", false},
    RoleName{Role::kBias, "bias", false},
    RoleName{Role::kAttentionIn, "attention-in", true},
    RoleName{Role::kAttentionOut, "attention-out", true},
    RoleName{Role::kMlpIn, "mlp-in", true},
    RoleName{Role::kMlpOut, "mlp-out", true},
};
constexpr std::array kRoles = {Role::kEmbedding,    Role::kPosition, Role::kHead,
                               Role::kNorm,         Role::kBias,     Role::kAttentionIn,
                               Role::kAttentionOut, Role::kMlpIn,    Role::kMlpOut};

bool contains(const std::vector<std::string_view>& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

std::string joined(std::vector<std::string_view> Family::*names) {
  std::string text;
  for (const Family* family : kFamilies) {
    for (const std::string_view name : family->*names) {
      text += fmt::format("{}{}", text.empty() ? "" : ", ", name);
    }
  }
  return text;
}

}  // namespace

std::span<const Family* const> all_families() { return kFamilies; }

const Family& find_family(const nlohmann::json& config, std::string_view where) {
  std::string found;
  const auto architectures = config.find("architectures");
  if (architectures != config.end() && architectures->is_array()) {
    for (const nlohmann::json& item : *architectures) {
      if (!item.is_string()) continue;
      const std::string name = item.get<std::string>();
      for (const Family* family : kFamilies) {
        if (contains(family->architectures, name)) return *family;
      }
      if (found.empty()) found = name;
    }
  }
  // An architecture that is named but unknown must not run as another because of its model_type.
  const auto type = config.find("model_type");
  if (found.empty() && type != config.end() && type->is_string()) {
    found = type->get<std::string>();
    for (const Family* family : kFamilies) {
      if (contains(family->model_types, found)) return *family;
    }
  }
  if (found.empty()) {
    fail(ErrorCode::kCorruptFile, where,
         "expected \"architectures\" or \"model_type\", found neither");
  }
  fail(ErrorCode::kUnsupported, where, "unknown model family '{}' (known: {})", found,
       joined(&Family::architectures));
}

const Family& find_gguf_family(const GgufFile& file) {
  const std::string name = file.get_string("general.architecture");
  for (const Family* family : kFamilies) {
    if (contains(family->gguf_names, name)) return *family;
  }
  fail(ErrorCode::kUnsupported, file.path, "unknown general.architecture '{}' (known: {})", name,
       joined(&Family::gguf_names));
}

std::string_view role_name(Role role) {
  for (const RoleName& row : kRoleNames) {
    if (row.role == role) return row.name;
  }
  fail(ErrorCode::kInternal, "role", "not in the table");
}

std::span<const Role> all_roles() { return kRoles; }

bool is_block_linear(Role role) {
  for (const RoleName& row : kRoleNames) {
    if (row.role == role) return row.block_linear;
  }
  return false;
}

int64_t side_length(Side side, const ModelConfig& config) {
  switch (side) {
    case Side::kNone:
      return 0;
    case Side::kVocab:
      return config.vocab_size;
    case Side::kHidden:
      return config.hidden;
    case Side::kContext:
      return config.context;
    case Side::kQ:
      return config.q_width();
    case Side::kKv:
      return config.kv_width();
    case Side::kQkv:
      return config.q_width() + 2 * config.kv_width();
    case Side::kIntermediate:
      return config.intermediate;
  }
  fail(ErrorCode::kInternal, "side", "not listed");
}

bool applies(When when, const ModelConfig& config) {
  switch (when) {
    case When::kAlways:
      return true;
    case When::kUntied:
      return !config.tied_head;
    case When::kAttentionBias:
      return config.attention_bias;
    case When::kAttentionOutBias:
      return config.attention_out_bias;
    case When::kMlpBias:
      return config.mlp_bias;
    case When::kNormBias:
      return config.norm_bias;
  }
  fail(ErrorCode::kInternal, "when", "not listed");
}

}  // namespace twofold
