#include "transform/transform_json.h"

#include "base/json.h"

namespace twofold {
namespace {

[[noreturn]] void refuse(std::string_view where, std::string_view expected, const Json& found) {
  fail(ErrorCode::kCorruptFile, where, "transform: expected {}, found {}", expected,
       found.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 80));
}

const Json& field(const Json& json, const char* name, std::string_view where) {
  const auto it = json.find(name);
  if (it == json.end()) refuse(where, fmt::format("a field {}", name), json);
  return *it;
}

uint64_t number_field(const Json& json, const char* name, std::string_view where) {
  const Json& value = field(json, name, where);
  if (!value.is_number_unsigned()) refuse(where, fmt::format("{} >= 0", name), value);
  return value.get<uint64_t>();
}

std::string text_field(const Json& json, const char* name, std::string_view where) {
  const Json& value = field(json, name, where);
  if (!value.is_string()) refuse(where, fmt::format("a text {}", name), value);
  return value.get<std::string>();
}

}  // namespace

Json transform_to_json(const TransformSpec& spec, std::string_view scale_tensor) {
  if (spec == TransformSpec{}) return nullptr;
  Json json = {{"name", spec.name},
               {"input_seed", spec.input_seed},
               {"output_seed", spec.output_seed},
               {"input_checksum", spec.input_checksum},
               {"output_checksum", spec.output_checksum}};
  if (!spec.variant.empty()) json["variant"] = spec.variant;
  if (!spec.input_scale.empty()) json["input_scale"] = scale_tensor;
  return json;
}

StoredTransform transform_from_json(const Json& json, std::string_view where) {
  if (json.is_null()) return {};
  if (!json.is_object()) refuse(where, "null or an object", json);
  StoredTransform stored;
  TransformSpec& spec = stored.spec;
  spec.name = text_field(json, "name", where);
  spec.input_seed = number_field(json, "input_seed", where);
  spec.output_seed = number_field(json, "output_seed", where);
  spec.input_checksum = number_field(json, "input_checksum", where);
  spec.output_checksum = number_field(json, "output_checksum", where);
  if (json.contains("variant")) spec.variant = text_field(json, "variant", where);
  if (json.contains("input_scale")) {
    stored.input_scale_tensor = text_field(json, "input_scale", where);
    if (stored.input_scale_tensor.empty()) refuse(where, "the name of a tensor", json);
  }
  return stored;
}

}  // namespace twofold
