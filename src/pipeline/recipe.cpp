#include "pipeline/recipe.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/json.h"
#include "pipeline/name_pattern.h"

namespace twofold {
namespace {

constexpr std::string_view kBlockRole = "block";
constexpr int kMaxLayer = 1 << 20;

std::string known_roles() {
  std::string text(kBlockRole);
  for (const Role role : all_roles()) text += fmt::format(", {}", role_name(role));
  return text;
}

/// Roles of vectors; no method applies to them.
bool is_vector_role(std::string_view name) {
  return name == role_name(Role::kNorm) || name == role_name(Role::kBias);
}

bool is_role(std::string_view name) {
  if (name == kBlockRole) return true;
  return std::any_of(all_roles().begin(), all_roles().end(),
                     [&](Role role) { return role_name(role) == name; });
}

bool matches(const RecipeRule& rule, const Slot& slot) {
  if (!rule.roles.empty()) {
    const auto hit = [&](const std::string& role) {
      return role == role_name(slot.role) || (role == kBlockRole && is_block_linear(slot.role));
    };
    if (std::none_of(rule.roles.begin(), rule.roles.end(), hit)) return false;
  }
  if (rule.layers && (slot.layer < rule.layers->first || slot.layer > rule.layers->second)) {
    return false;
  }
  if (!rule.names.empty() && std::ranges::find(rule.names, slot.name) == rule.names.end()) {
    return false;
  }
  return rule.name.empty() || NamePattern(rule.name).found_in(slot.name);
}

/// Runs `body`, whose errors about arguments get `where` in front.
template <class Body>
auto with_where(const std::string& where, const Body& body) {
  try {
    return body();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidArgument) throw;
    fail(ErrorCode::kInvalidArgument, where, std::string_view(error.what()));
  }
}

/// @throws Error(kInvalidArgument) if a rate of the rule does not go with the rest of it.
void check_rates(const RecipeRule& rule) {
  MethodRequest request = rule.request;
  if (!rule.mean_bits) {
    choose_method(request);
    return;
  }
  const int low = static_cast<int>(std::floor(*rule.mean_bits));
  with_where(fmt::format("{} bits are a mix of {} and {}", *rule.mean_bits, low, low + 1), [&] {
    for (const int bits : {low + 1, low}) {
      request.bits = bits;
      choose_method(request);
    }
  });
}

/// One rule of a recipe file.
class RuleReader {
 public:
  RuleReader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  RecipeRule read() {
    if (!json_.is_object()) wrong("", "an object", json_);
    for (const auto& [field, value] : json_.items()) read_field(field, value);
    check();
    return std::move(rule_);
  }

 private:
  struct Field {
    std::string_view name;
    void (RuleReader::*read)(const Json& value);
    bool is_action = false;  // says what to do, so it cannot stand beside "keep": true
  };

  static constexpr size_t kFieldCount = 12;
  static const std::array<Field, kFieldCount>& fields() {
    static constexpr std::array<Field, kFieldCount> kFields = {{
        {"roles", &RuleReader::read_roles},
        {"layers", &RuleReader::read_layers},
        {"name", &RuleReader::read_name},
        {"names", &RuleReader::read_names},
        {"keep", &RuleReader::read_keep},
        {"method", &RuleReader::read_method, true},
        {"bits", &RuleReader::read_bits, true},
        {"group", &RuleReader::read_group, true},
        {"transform", &RuleReader::read_transform, true},
        {"grid", &RuleReader::read_grid, true},
        {"rounding", &RuleReader::read_rounding, true},
        {"params", &RuleReader::read_params, true},
    }};
    return kFields;
  }

  [[noreturn]] void wrong(std::string_view field, std::string_view expected, const Json& found) {
    std::string text = found.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (text.size() > 60) text = text.substr(0, 57) + "...";
    const std::string where = field.empty() ? where_ : fmt::format("{}: {}", where_, field);
    fail(ErrorCode::kInvalidArgument, where, "expected {}, found {}", expected, text);
  }

  void read_field(std::string_view name, const Json& value) {
    for (const Field& field : fields()) {
      if (field.name != name) continue;
      current_ = name;
      (this->*field.read)(value);
      if (field.is_action && action_.empty()) action_ = name;
      return;
    }
    std::string known;
    for (const Field& field : fields()) {
      known += fmt::format("{}{}", known.empty() ? "" : ", ", field.name);
    }
    fail(ErrorCode::kInvalidArgument, where_, "unknown field '{}' (known: {})", name, known);
  }

  std::string text(const Json& value) {
    if (!value.is_string() || value.get_ref<const std::string&>().empty()) {
      wrong(current_, "a text", value);
    }
    return value.get<std::string>();
  }
  int64_t integer(const Json& value, int64_t min, int64_t max) {
    const bool fits =
        value.is_number_integer() &&
        (!value.is_number_unsigned() || value.get<uint64_t>() <= static_cast<uint64_t>(max)) &&
        value.get<int64_t>() >= min && value.get<int64_t>() <= max;
    if (!fits) wrong(current_, fmt::format("an integer from {} to {}", min, max), value);
    return value.get<int64_t>();
  }

  void read_roles(const Json& value) {
    if (!value.is_array() || value.empty()) wrong("roles", "a list of roles", value);
    for (const Json& item : value) {
      if (!item.is_string() || !is_role(item.get_ref<const std::string&>())) {
        wrong("roles", fmt::format("any of {}", known_roles()), item);
      }
      rule_.roles.push_back(item.get<std::string>());
    }
  }
  void read_layers(const Json& value) {
    if (!value.is_array() || value.size() != 2) wrong("layers", "[first, last]", value);
    const auto first = static_cast<int>(integer(value[0], 0, kMaxLayer));
    const auto last = static_cast<int>(integer(value[1], 0, kMaxLayer));
    if (first > last) wrong("layers", "[first, last] in ascending order", value);
    rule_.layers = {first, last};
  }
  void read_name(const Json& value) {
    rule_.name = text(value);
    with_where(where_, [&] { return NamePattern(rule_.name).found_in(""); });
  }
  void read_names(const Json& value) {
    if (!value.is_array() || value.empty()) wrong("names", "a list of names", value);
    for (const Json& item : value) rule_.names.push_back(text(item));
  }
  void read_keep(const Json& value) {
    if (!value.is_boolean()) wrong("keep", "true or false", value);
    rule_.keep = value.get<bool>();
  }
  void read_method(const Json& value) { rule_.request.method = text(value); }
  void read_bits(const Json& value) {
    if (value.is_number_float()) {
      with_where(where_, [&] {
        set_bits(value.get<double>(), rule_.request, rule_.mean_bits);
        return 0;
      });
      return;
    }
    rule_.request.bits = static_cast<int>(integer(value, 1, 64));
  }
  void read_group(const Json& value) { rule_.request.group = integer(value, 0, 1 << 20); }
  void read_transform(const Json& value) { rule_.request.transform = text(value); }
  void read_grid(const Json& value) { rule_.request.grid = text(value); }
  void read_rounding(const Json& value) { rule_.request.rounding = text(value); }
  void read_params(const Json& value) {
    if (!value.is_object()) wrong("params", "an object", value);
    for (const auto& [name, setting] : value.items()) {
      if (setting.is_string()) {
        rule_.request.params[name] = setting.get<std::string>();
      } else if (setting.is_number()) {
        rule_.request.params[name] = setting.dump();
      } else {
        wrong(fmt::format("params: {}", name), "a text or a number", setting);
      }
    }
  }

  void check() {
    if (rule_.keep && !action_.empty()) {
      fail(ErrorCode::kInvalidArgument, where_, "\"keep\" and \"{}\" exclude each other", action_);
    }
    if (rule_.keep) return;
    if (rule_.request.method.empty()) {
      fail(ErrorCode::kInvalidArgument, where_, "expected \"method\" or \"keep\": true");
    }
    const auto vector_role = std::find_if(rule_.roles.begin(), rule_.roles.end(), is_vector_role);
    if (vector_role != rule_.roles.end()) {
      fail(ErrorCode::kInvalidArgument, where_, "no method applies to the role {}: it is kept",
           *vector_role);
    }
    with_where(where_, [&] {
      check_rates(rule_);
      return 0;
    });
  }

  const Json& json_;
  std::string where_;
  RecipeRule rule_;
  std::string_view current_;
  std::string_view action_;  // first field that says what to do
};

OrderedJson rule_to_json(const RecipeRule& rule) {
  OrderedJson json = OrderedJson::object();
  if (!rule.roles.empty()) json["roles"] = rule.roles;
  if (rule.layers) json["layers"] = {rule.layers->first, rule.layers->second};
  if (!rule.name.empty()) json["name"] = rule.name;
  if (!rule.names.empty()) json["names"] = rule.names;
  if (rule.keep) {
    json["keep"] = true;
    return json;
  }
  const MethodRequest& request = rule.request;
  json["method"] = request.method;
  if (request.bits) json["bits"] = *request.bits;
  if (rule.mean_bits) json["bits"] = *rule.mean_bits;
  if (request.group) json["group"] = *request.group;
  if (!request.transform.empty()) json["transform"] = request.transform;
  if (!request.grid.empty()) json["grid"] = request.grid;
  if (!request.rounding.empty()) json["rounding"] = request.rounding;
  if (!request.params.empty()) json["params"] = request.params;
  return json;
}

/// "keep" or "METHOD:BITS" as a rule for `roles`.
RecipeRule table_rule(std::string_view flag, std::string_view value,
                      std::vector<std::string> roles) {
  RecipeRule rule;
  rule.roles = std::move(roles);
  if (value == "keep") {
    rule.keep = true;
    return rule;
  }
  const size_t colon = value.find(':');
  int bits = 0;
  const char* const end = value.data() + value.size();
  const bool is_pair =
      colon != std::string_view::npos && colon > 0 &&
      std::from_chars(value.data() + colon + 1, end, bits) == std::from_chars_result{end, {}};
  if (!is_pair) {
    fail(ErrorCode::kInvalidArgument, flag, "expected keep or METHOD:BITS, such as rtn:8, found {}",
         value);
  }
  with_where(std::string(flag), [&] {
    rule.request.method = value.substr(0, colon);
    rule.request.bits = bits;
    const MethodChoice choice = choose_method(rule.request);
    if (needs_moment(choice)) {
      fail(ErrorCode::kInvalidArgument, choice.method,
           "needs second moments, which head and tables do not have: expected a data-free method");
    }
    if (find_grid(choice.grid).groups) rule.request.group = kTableGroup;
    return choose_method(rule.request);
  });
  return rule;
}

}  // namespace

void set_bits(double bits, MethodRequest& request, std::optional<double>& mean) {
  if (!(bits >= 1 && bits <= kMostBits)) {
    fail(ErrorCode::kInvalidArgument, "bits", "expected a number from 1 to {}, found {}", kMostBits,
         bits);
  }
  if (bits == std::floor(bits)) {
    request.bits = static_cast<int>(bits);
  } else {
    mean = bits;
  }
}

std::optional<size_t> deciding_rule(const Recipe& recipe, const Slot& slot) {
  for (size_t i = 0; i < recipe.rules.size(); ++i) {
    if (matches(recipe.rules[i], slot)) return i;
  }
  return std::nullopt;
}

std::optional<MethodChoice> choose(const Recipe& recipe, const Slot& slot) {
  if (slot.shape.size() != 2) return std::nullopt;
  const std::optional<size_t> rule = deciding_rule(recipe, slot);
  if (!rule || recipe.rules[*rule].keep) return std::nullopt;
  if (recipe.rules[*rule].mean_bits) {
    fail(ErrorCode::kInvalidArgument, slot.name, "expected whole bits, found {}",
         *recipe.rules[*rule].mean_bits);
  }
  return choose_method(recipe.rules[*rule].request, slot.shape[0], slot.shape[1]);
}

Recipe parse_recipe(std::string_view json, std::string_view where) {
  // The file is an argument of the command: its mistakes are the caller's.
  Json document;
  try {
    document = parse_json(json, where, RepeatedKeys::kRefused);
  } catch (const Error& error) {
    fail(ErrorCode::kInvalidArgument, "", std::string_view(error.what()));
  }
  if (!document.is_object() || document.size() != 1 || !document.contains("rules") ||
      !document["rules"].is_array()) {
    fail(ErrorCode::kInvalidArgument, where, "expected {\"rules\": [...]} and no other field");
  }
  Recipe recipe;
  for (const Json& rule : document["rules"]) {
    recipe.rules.push_back(
        RuleReader(rule, fmt::format("{}: rule {}", where, recipe.rules.size() + 1)).read());
  }
  return recipe;
}

OrderedJson to_json(const Recipe& recipe) {
  OrderedJson rules = OrderedJson::array();
  for (const RecipeRule& rule : recipe.rules) rules.push_back(rule_to_json(rule));
  return {{"rules", std::move(rules)}};
}

OrderedJson to_json(const MethodChoice& choice) {
  OrderedJson json;
  json["transform"] = choice.transform;
  json["grid"] = choice.grid;
  json["rounding"] = choice.rounding;
  json["bits"] = choice.bits;
  json["group"] = choice.group;
  json["params"] = OrderedJson::object();
  for (const auto& [name, value] : choice.params.values()) json["params"][name] = value;
  return json;
}

Recipe recipe_from_flags(const RecipeFlags& flags) {
  RecipeRule block;
  block.roles = {std::string(kBlockRole)};
  block.request = flags.block;
  block.mean_bits = flags.mean_bits;
  check_rates(block);
  Recipe recipe;
  recipe.rules.push_back(std::move(block));
  recipe.rules.push_back(table_rule("--head", flags.head, {std::string(role_name(Role::kHead))}));
  recipe.rules.push_back(table_rule(
      "--embeddings", flags.embeddings,
      {std::string(role_name(Role::kEmbedding)), std::string(role_name(Role::kPosition))}));
  return recipe;
}

}  // namespace twofold
