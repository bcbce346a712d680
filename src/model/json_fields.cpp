#include "model/json_fields.h"

#include <array>
#include <cmath>

#include "base/error.h"

namespace twofold {
namespace {

struct ActivationName {
  std::string_view name;
  Activation activation;
};
// Names as in the transformers library; several stand for the same function.
constexpr std::array kActivations = {
    ActivationName{"silu", Activation::kSilu},
    ActivationName{"swish", Activation::kSilu},
    ActivationName{"gelu", Activation::kGeluErf},
    ActivationName{"gelu_new", Activation::kGeluTanh},
    ActivationName{"gelu_pytorch_tanh", Activation::kGeluTanh},
    ActivationName{"gelu_fast", Activation::kGeluTanh},
    ActivationName{"relu", Activation::kRelu},
};

std::string shortened(const nlohmann::json& value) {
  std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 60) + "...";
  return text;
}

}  // namespace

JsonFields::JsonFields(const nlohmann::json& object, std::string_view where)
    : object_(&object), where_(where) {
  if (!object.is_object()) {
    fail(ErrorCode::kCorruptFile, where_, "expected a JSON object, found {}", object.type_name());
  }
}

const nlohmann::json* JsonFields::find(std::string_view name) const {
  const auto it = object_->find(name);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

void JsonFields::mistyped(std::string_view name, std::string_view expected) const {
  const nlohmann::json* value = find(name);
  fail(ErrorCode::kCorruptFile, where_, "{}: expected {}, found {}", name, expected,
       value == nullptr ? "nothing" : shortened(*value));
}

bool JsonFields::has(std::string_view name) const { return find(name) != nullptr; }

int64_t JsonFields::get_int(std::string_view name) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr || !value->is_number_integer()) mistyped(name, "an integer");
  const bool negative = !value->is_number_unsigned() && value->get<int64_t>() < 0;
  if (negative || value->get<uint64_t>() >= uint64_t{1} << 40) {
    mistyped(name, "an integer from 0 to 2^40");
  }
  return value->get<int64_t>();
}

int64_t JsonFields::get_int(std::string_view name, int64_t fallback) const {
  return has(name) ? get_int(name) : fallback;
}

double JsonFields::get_float(std::string_view name) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr || !value->is_number()) mistyped(name, "a number");
  const double number = value->get<double>();
  if (!std::isfinite(number)) mistyped(name, "a finite number");
  return number;
}

double JsonFields::get_float(std::string_view name, double fallback) const {
  return has(name) ? get_float(name) : fallback;
}

bool JsonFields::get_bool(std::string_view name, bool fallback) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) mistyped(name, "true or false");
  return value->get<bool>();
}

std::string JsonFields::get_string(std::string_view name, std::string_view fallback) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) mistyped(name, "a string");
  return value->get<std::string>();
}

std::vector<int32_t> JsonFields::get_ids(std::string_view name) const {
  const nlohmann::json* value = find(name);
  std::vector<int32_t> ids;
  if (value == nullptr) return ids;
  const auto add = [&](const nlohmann::json& item) {
    if (!item.is_number_integer() || item.get<int64_t>() < 0 || item.get<int64_t>() > INT32_MAX) {
      mistyped(name, "a token id or a list of them");
    }
    ids.push_back(item.get<int32_t>());
  };
  if (value->is_array()) {
    for (const nlohmann::json& item : *value) add(item);
  } else {
    add(*value);
  }
  return ids;
}

std::optional<JsonFields> JsonFields::get_object(std::string_view name) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) mistyped(name, "an object");
  return JsonFields(*value, fmt::format("{}: {}", where_, name));
}

void JsonFields::refuse(std::string_view name, std::string_view why) const {
  const nlohmann::json* value = find(name);
  fail(ErrorCode::kUnsupported, where_, "{} = {} is not supported ({})", name,
       value == nullptr ? "null" : shortened(*value), why);
}

Activation parse_activation(const JsonFields& fields, std::string_view name,
                            std::string_view fallback) {
  const std::string wanted = fields.get_string(name, fallback);
  std::string known;
  for (const ActivationName& row : kActivations) {
    if (row.name == wanted) return row.activation;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
  }
  fields.refuse(name, "known: " + known);
}

RopeConfig parse_rope(const JsonFields& fields, double default_theta, int64_t context) {
  RopeConfig rope;
  rope.theta = fields.get_float("rope_theta", default_theta);
  // transformers 5 writes rope_parameters; earlier versions rope_scaling. The newer one wins there.
  std::optional<JsonFields> scaling = fields.get_object("rope_parameters");
  if (!scaling) scaling = fields.get_object("rope_scaling");
  if (!scaling) return rope;
  rope.theta = scaling->get_float("rope_theta", rope.theta);
  const std::string type = scaling->get_string("rope_type", scaling->get_string("type", "default"));
  if (type == "default") return rope;
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
    rope.factor = scaling->get_float("factor");
  } else if (type == "llama3") {
    rope.scaling = RopeScaling::kLlama3;
    rope.factor = scaling->get_float("factor");
    rope.low_freq_factor = scaling->get_float("low_freq_factor");
    rope.high_freq_factor = scaling->get_float("high_freq_factor");
    rope.original_context = scaling->get_int("original_max_position_embeddings", context);
    if (rope.original_context <= 0 || rope.low_freq_factor <= 0 ||
        rope.high_freq_factor <= rope.low_freq_factor) {
      fail(ErrorCode::kCorruptFile, scaling->where(),
           "expected 0 < low_freq_factor < high_freq_factor and a positive original context");
    }
  } else {
    scaling->refuse(scaling->has("rope_type") ? "rope_type" : "type",
                    "known: default, linear, llama3");
  }
  if (!(rope.factor > 0)) {
    fail(ErrorCode::kCorruptFile, scaling->where(), "factor: expected a positive number, found {}",
         rope.factor);
  }
  return rope;
}

void check_config(const ModelConfig& c, std::string_view where) {
  struct Side {
    const char* name;
    int64_t value;
  };
  for (const Side& side :
       {Side{"vocabulary size", c.vocab_size}, Side{"hidden size", c.hidden},
        Side{"number of layers", c.layers}, Side{"number of heads", c.heads},
        Side{"number of key-value heads", c.kv_heads}, Side{"head size", c.head_dim},
        Side{"intermediate size", c.intermediate}, Side{"context length", c.context}}) {
    if (side.value <= 0 || side.value > int64_t{1} << 31) {
      fail(ErrorCode::kCorruptFile, where, "{}: expected 1 to 2^31, found {}", side.name,
           side.value);
    }
  }
  if (c.heads % c.kv_heads != 0) {
    fail(ErrorCode::kCorruptFile, where,
         "{} attention heads cannot share {} key-value heads evenly", c.heads, c.kv_heads);
  }
  if (c.position == PositionKind::kRope) {
    if (c.rope.dims <= 0 || c.rope.dims > c.head_dim || c.rope.dims % 2 != 0) {
      fail(ErrorCode::kCorruptFile, where,
           "rope turns {} numbers of a head of {}: expected an even number up to the head size",
           c.rope.dims, c.head_dim);
    }
    if (!(c.rope.theta > 0)) {
      fail(ErrorCode::kCorruptFile, where, "rope_theta: expected a positive number, found {}",
           c.rope.theta);
    }
  }
  if (!(c.norm_eps >= 0)) {
    fail(ErrorCode::kCorruptFile, where, "norm epsilon: expected 0 or more, found {}", c.norm_eps);
  }
}

}  // namespace twofold
