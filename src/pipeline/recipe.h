// Recipe: rules that say what happens to each tensor. The first rule that matches decides. A JSON
// file, saved in the output folder; command line flags are a one-rule recipe.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/model_files.h"
#include "quant/method.h"

namespace twofold {

struct RecipeRule {
  // Conditions; empty = any.
  std::vector<std::string> roles;             // names of role_name, or "block" for block linears
  std::optional<std::pair<int, int>> layers;  // inclusive block numbers
  std::string name;                           // ECMAScript regular expression on the tensor name
  // Action.
  bool keep = false;      // leave as stored
  MethodRequest request;  // otherwise
};

struct Recipe {
  std::vector<RecipeRule> rules;
};

/// What a recipe says for one tensor; nothing = keep.
std::optional<MethodChoice> choose(const Recipe& recipe, const Slot& slot);

/// @throws Error(kInvalidArgument) naming the rule and field; unknown fields are refused.
Recipe parse_recipe(std::string_view json, std::string_view where);
nlohmann::ordered_json to_json(const Recipe& recipe);

/// The flags of `quantize` as a recipe. `head` and `embeddings` are "keep" or "METHOD:BITS";
/// default "rtn:8" with groups of 128.
struct RecipeFlags {
  MethodRequest block;
  std::string head = "rtn:8", embeddings = "rtn:8";
};
Recipe recipe_from_flags(const RecipeFlags& flags);

}  // namespace twofold
