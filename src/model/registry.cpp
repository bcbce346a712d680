#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/families.h"

namespace twofold {
namespace {

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
    RoleName{Role::kProjection, "projection", false},
    RoleName{Role::kRouter, "router", false},
    RoleName{Role::kAttentionIn, "attention-in", true},
    RoleName{Role::kAttentionOut, "attention-out", true},
    RoleName{Role::kMlpIn, "mlp-in", true},
    RoleName{Role::kMlpOut, "mlp-out", true},
};
constexpr auto kRoles = [] {
  std::array<Role, kRoleNames.size()> roles{};
  for (size_t i = 0; i < roles.size(); ++i) roles[i] = kRoleNames[i].role;
  return roles;
}();

bool contains(const std::vector<std::string_view>& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

/// A name from a file, on one line whatever it holds.
std::string one_line(const std::string& name) {
  const auto replace = nlohmann::json::error_handler_t::replace;
  return nlohmann::json(name.substr(0, 60)).dump(-1, ' ', true, replace);
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
  fail(ErrorCode::kUnsupported, where, "unknown model family {} (known: {})", one_line(found),
       joined(&Family::architectures));
}

const Family& find_gguf_family(const GgufFile& file) {
  const std::string name = file.get_string("general.architecture");
  for (const Family* family : kFamilies) {
    if (contains(family->gguf_names, name)) return *family;
  }
  fail(ErrorCode::kUnsupported, file.path, "unknown general.architecture {} (known: {})",
       one_line(name), joined(&Family::gguf_names));
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
    case Side::kTable:
      return config.table_width();
    case Side::kPosition:
      return config.context + config.position_offset;
    case Side::kQ:
      return config.q_width();
    case Side::kKv:
      return config.kv_width();
    case Side::kQkv:
      return config.q_width() + 2 * config.kv_width();
    case Side::kHead:
      return config.head_dim;
    case Side::kIntermediate:
      return config.intermediate;
    case Side::kExperts:
      return config.experts;
    case Side::kExpertIntermediate:
      return config.expert_intermediate;
  }
  fail(ErrorCode::kInternal, "side", "not listed");
}

int64_t fused_rows(const FusedPart& part, const ModelConfig& config) {
  int64_t rows = 0;
  for (const Side side : part.sides) rows += side_length(side, config);
  return rows;
}

WeightView fused_view(const FusedPart& part, bool by_head, const ModelConfig& config) {
  const int64_t count = side_length(part.sides[part.index], config);
  const int64_t runs = by_head ? config.kv_heads : 1;
  WeightView view;
  for (size_t i = 0; i < part.index; ++i) view.row_begin += side_length(part.sides[i], config);
  view.row_begin /= runs;
  view.row_count = count;
  if (runs > 1) {
    view.row_block = count / runs;
    view.row_stride = fused_rows(part, config) / runs;
  }
  return view;
}

bool applies(When when, const ModelConfig& config, int64_t layer) {
  const bool experts = layer >= 0 && layer < config.layers && config.layer(layer).experts;
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
    case When::kNormWeight:
      return config.norm_weights;
    case When::kNormBias:
      return config.norm_weights && config.norm_bias;
    case When::kFinalNormWeight:
      return config.norm_weights && config.final_norm;
    case When::kFinalNormBias:
      return config.norm_weights && config.norm_bias && config.final_norm;
    case When::kProjection:
      return config.table_width() != config.hidden;
    case When::kDenseMlp:
      return !experts;
    case When::kExperts:
      return experts;
  }
  fail(ErrorCode::kInternal, "when", "not listed");
}

std::string numbered(std::string_view pattern, int64_t layer, int64_t expert) {
  std::string text(pattern);
  const auto put = [&](std::string_view mark, int64_t number) {
    if (const size_t at = text.find(mark); at != std::string::npos) {
      text.replace(at, mark.size(), std::to_string(number));
    }
  };
  put("{i}", layer);
  put("{e}", expert);
  return text;
}

std::string tensor_name(const TensorRule& rule, int64_t layer, int64_t expert) {
  std::string name = numbered(rule.source, layer, expert);
  if (rule.part) name += fmt::format(".{}", rule.part->name);
  return name;
}

bool is_of_experts(const TensorRule& rule) {
  return rule.slot.find("{e}") != std::string_view::npos;
}

int64_t tensor_count(const TensorRule& rule, const ModelConfig& config, int64_t layer) {
  const bool in_block = rule.slot.find("{i}") != std::string_view::npos;
  if (in_block != (layer >= 0) || !applies(rule.when, config, layer)) return 0;
  return is_of_experts(rule) ? config.experts : 1;
}

}  // namespace twofold
