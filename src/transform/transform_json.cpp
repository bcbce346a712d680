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

uint64_t seed_field(const Json& json, const char* name, std::string_view where) {
  const Json& value = field(json, name, where);
  if (!value.is_number_unsigned()) refuse(where, fmt::format("{} >= 0", name), value);
  return value.get<uint64_t>();
}

}  // namespace

Json transform_to_json(const TransformSpec& spec) {
  if (spec == TransformSpec{}) return nullptr;
  Json json = {
      {"name", spec.name}, {"input_seed", spec.input_seed}, {"output_seed", spec.output_seed}};
  if (!spec.input_scale.empty()) json["input_scale"] = spec.input_scale;
  return json;
}

TransformSpec transform_from_json(const Json& json, std::string_view where) {
  if (json.is_null()) return {};
  if (!json.is_object()) refuse(where, "null or an object", json);
  const Json& name = field(json, "name", where);
  if (!name.is_string()) refuse(where, "a name", name);
  TransformSpec spec;
  spec.name = name.get<std::string>();
  spec.input_seed = seed_field(json, "input_seed", where);
  spec.output_seed = seed_field(json, "output_seed", where);
  const auto scale = json.find("input_scale");
  if (scale == json.end()) return spec;
  if (!scale->is_array()) refuse(where, "a list input_scale", *scale);
  for (const Json& value : *scale) {
    if (!value.is_number()) refuse(where, "numbers in input_scale", value);
    spec.input_scale.push_back(value.get<float>());
  }
  return spec;
}

}  // namespace twofold
