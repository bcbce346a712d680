// Recipe: rules that say what happens to each tensor. The first rule that matches decides; a tensor
// that no rule matches is kept. A JSON file (docs/recipes.md), saved in the output folder; command
// line flags are a recipe of three rules. Plain values, no state.
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
  std::string name;                           // NamePattern on the tensor's Hugging Face name
  std::vector<std::string> names = {};        // one of these is its Hugging Face name
  // Action.
  bool keep = false;      // leave as stored
  MethodRequest request;  // otherwise
  /// Fractional bits per code in the mean over the rule's weights, in place of request.bits:
  /// plan_rates (rate_plan.h) makes whole ones of it.
  std::optional<double> mean_bits = {};
};

struct Recipe {
  std::vector<RecipeRule> rules;
};

inline constexpr int kMostBits = 16;
/// Whole bits go to `request`, fractional ones to `mean`.
/// @throws Error(kInvalidArgument) if they are not 1 to kMostBits.
void set_bits(double bits, MethodRequest& request, std::optional<double>& mean);

/// Index of the rule that decides about a tensor: the first that matches. Nothing if none does.
std::optional<size_t> deciding_rule(const Recipe& recipe, const Slot& slot);
/// What a recipe says for one tensor; nothing = keep. Vectors (norms, biases) are always kept.
/// @throws Error(kInvalidArgument) naming the rule if it cannot be carried out, as one with
/// fractional bits cannot.
std::optional<MethodChoice> choose(const Recipe& recipe, const Slot& slot);

/// Reads a recipe file and checks every rule, whether or not a tensor will match it.
/// @throws Error(kInvalidArgument) naming `where`, the rule (counted from 1) and the field; unknown
/// fields and repeated keys are refused.
Recipe parse_recipe(std::string_view json, std::string_view where);
/// The recipe as `parse_recipe` reads it.
nlohmann::ordered_json to_json(const Recipe& recipe);
/// Everything a choice says, as reports record it.
nlohmann::ordered_json to_json(const MethodChoice& choice);

/// The flags of `quantize`. `head` and `embeddings` are "keep" or "METHOD:BITS", in groups of
/// kTableGroup where the method's grid has groups.
struct RecipeFlags {
  MethodRequest block;
  std::optional<double> mean_bits = {};  // of the blocks, as RecipeRule
  std::string head = "rtn:8";
  std::string embeddings = "rtn:8";  // token table and position table
};
inline constexpr int64_t kTableGroup = 128;

/// A rule for block linears, one for the head and one for the tables.
/// @throws Error(kInvalidArgument) naming the flag and the valid choices.
Recipe recipe_from_flags(const RecipeFlags& flags);

}  // namespace twofold
