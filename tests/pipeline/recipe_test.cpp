#include "pipeline/recipe.h"

#include <string>
#include <vector>

#include "pipeline/support.h"

namespace twofold {
namespace {

using testing::error_of;

Slot slot_of(Role role, int layer, const std::string& name, Shape shape = {64, 32}) {
  Slot slot;
  slot.name = name;
  slot.role = role;
  slot.layer = layer;
  slot.shape = std::move(shape);
  return slot;
}

TEST(Recipe, FirstRuleThatMatchesDecides) {
  const Recipe recipe = parse_recipe(R"({"rules": [
      {"roles": ["mlp-out"], "layers": [1, 2], "method": "rtn", "bits": 8},
      {"name": "\\.0\\.mlp", "keep": true},
      {"roles": ["block"], "method": "pot", "bits": 5},
      {"roles": ["head", "embedding"], "method": "rtn", "bits": 6, "group": 64}]})",
                                     "r.json");
  EXPECT_FALSE(choose(recipe, slot_of(Role::kMlpOut, 0, "l.0.mlp.down")));
  const auto second = choose(recipe, slot_of(Role::kMlpOut, 1, "l.1.mlp.down"));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->method, "rtn");
  EXPECT_EQ(second->bits, 8);
  const auto last = choose(recipe, slot_of(Role::kMlpOut, 3, "l.3.mlp.down"));
  ASSERT_TRUE(last);
  EXPECT_EQ(last->method, "pot");
  EXPECT_EQ(last->bits, 5);
  const auto head = choose(recipe, slot_of(Role::kHead, -1, "lm_head.weight"));
  ASSERT_TRUE(head);
  EXPECT_EQ(head->bits, 6);
  EXPECT_EQ(head->group, 64);
  EXPECT_FALSE(choose(recipe, slot_of(Role::kPosition, -1, "wpe")));
}

TEST(Recipe, BlockMeansExactlyTheLinearsOfBlocks) {
  const Recipe recipe = parse_recipe(R"({"rules": [{"roles": ["block"], "method": "rtn"}]})", "r");
  for (const Role role : all_roles()) {
    EXPECT_EQ(choose(recipe, slot_of(role, 0, "x")).has_value(), is_block_linear(role))
        << role_name(role);
  }
}

TEST(Recipe, KeepsVectorsAndWhatNoRuleNames) {
  const Recipe all = parse_recipe(R"({"rules": [{"method": "rtn"}]})", "r");
  EXPECT_TRUE(choose(all, slot_of(Role::kPosition, -1, "wpe")));
  EXPECT_FALSE(choose(all, slot_of(Role::kNorm, 0, "norm", {64})));
  EXPECT_FALSE(choose(all, slot_of(Role::kBias, 0, "bias", {64})));
  EXPECT_FALSE(choose(Recipe{}, slot_of(Role::kMlpIn, 0, "x")));
  const Recipe layers = parse_recipe(R"({"rules": [{"layers": [0, 9], "method": "rtn"}]})", "r");
  EXPECT_FALSE(choose(layers, slot_of(Role::kHead, -1, "head")));
}

TEST(Recipe, JsonReadsBackAsTheSameRecipe) {
  const std::string text = R"({"rules": [
      {"roles": ["block", "head"], "layers": [0, 3], "name": "proj", "method": "rtn", "bits": 3,
       "group": 32, "transform": "none", "grid": "uniform", "rounding": "nearest"},
      {"names": ["a.weight", "b.weight"], "method": "rtn", "bits": 3.25},
      {"keep": true}]})";
  const Recipe recipe = parse_recipe(text, "r");
  EXPECT_EQ(Json(to_json(recipe)), Json::parse(text));
  EXPECT_EQ(to_json(parse_recipe(to_json(recipe).dump(), "r")), to_json(recipe));
}

/// The choice of a rule, or why it is refused.
std::pair<std::optional<MethodChoice>, std::string> chosen(const std::string& recipe) {
  try {
    return {choose(parse_recipe(recipe, "r"), slot_of(Role::kMlpIn, 0, "x")), ""};
  } catch (const Error& error) {
    return {std::nullopt, error.what()};
  }
}

TEST(Recipe, ParamsAreTextsOrNumbers) {
  int accepted = 0;
  for (const Method& method : all_methods()) {
    const Grid& grid = find_grid(method.grid);
    for (const ParamSpec& spec : grid.params) {
      if (spec.kind != ParamKind::kFloat || spec.fallback.empty()) continue;
      const std::string name(spec.name), value(spec.fallback);
      const auto rule = [&](const std::string& setting) {
        return fmt::format(R"({{"rules": [{{"method": "{}", "params": {{"{}": {}}}}}]}})",
                           method.name, name, setting);
      };
      const auto [as_text, text_refusal] = chosen(rule("\"" + value + "\""));
      const auto [as_number, number_refusal] = chosen(rule(value));
      EXPECT_EQ(text_refusal, number_refusal) << name;  // what the method does not read
      ASSERT_EQ(as_text.has_value(), as_number.has_value()) << name;
      if (!as_text) continue;
      EXPECT_EQ(as_text->params, as_number->params) << name;
      ++accepted;
    }
  }
  EXPECT_GT(accepted, 0);
}

struct BadRecipe {
  const char* text;
  std::vector<std::string> said;  // parts of the message
};

TEST(Recipe, MistakesAreRefusedWithRuleAndField) {
  const std::vector<BadRecipe> bad = {
      {"", {"r.json"}},
      {"[]", {"r.json", "rules"}},
      {R"({"rules": {}})", {"rules"}},
      {R"({"rules": [], "version": 1})", {"rules"}},
      {R"({"rules": [{"keep": true}, 5]})", {"rule 2", "object", "5"}},
      {R"({"rules": [{"methods": "rtn"}]})", {"rule 1", "methods", "method"}},
      {R"({"rules": [{"roles": ["block"]}]})", {"rule 1", "method", "keep"}},
      {R"({"rules": [{"keep": true, "bits": 4}]})", {"rule 1", "keep", "bits"}},
      {R"({"rules": [{"keep": 1}]})", {"rule 1", "keep", "true or false"}},
      {R"({"rules": [{"method": "nonesuch"}]})", {"rule 1", "nonesuch", "rtn"}},
      {R"({"rules": [{"method": 4}]})", {"rule 1", "method"}},
      {R"({"rules": [{"method": "rtn", "bits": "4"}]})", {"rule 1", "bits"}},
      {R"({"rules": [{"method": "rtn", "bits": 0.5}]})", {"rule 1", "bits", "0.5"}},
      {R"({"rules": [{"method": "rtn", "bits": 8.5}]})", {"rule 1", "8.5", "bits", "9"}},
      {R"({"rules": [{"names": [], "keep": true}]})", {"rule 1", "names"}},
      {R"({"rules": [{"names": [""], "keep": true}]})", {"rule 1", "names"}},
      {R"({"rules": [{"method": "rtn", "bits": 99999999999999999999}]})", {"rule 1", "bits"}},
      {R"({"rules": [{"method": "rtn", "bits": 18446744073709551615}]})", {"rule 1", "bits"}},
      {R"({"rules": [{"method": "rtn", "bits": 60}]})", {"rule 1", "bits", "60"}},
      {R"({"rules": [{"method": "rtn", "group": -1}]})", {"rule 1", "group"}},
      {R"({"rules": [{"method": "rtn", "group": 7}]})", {"rule 1", "group", "7"}},
      {R"({"rules": [{"method": "rtn", "grid": "nonesuch"}]})", {"rule 1", "nonesuch"}},
      {R"({"rules": [{"method": "rtn", "rounding": "x"}]})", {"rule 1", "rounding"}},
      {R"({"rules": [{"method": "rtn", "transform": "x"}]})", {"rule 1", "transform"}},
      {R"({"rules": [{"method": "rtn", "params": {"nonesuch": 1}}]})", {"rule 1", "nonesuch"}},
      {R"({"rules": [{"method": "rtn", "params": {"eps": []}}]})", {"rule 1", "params", "eps"}},
      {R"({"rules": [{"method": "rtn", "params": 3}]})", {"rule 1", "params"}},
      {R"({"rules": [{"roles": [], "keep": true}]})", {"rule 1", "roles"}},
      {R"({"rules": [{"roles": "block", "keep": true}]})", {"rule 1", "roles"}},
      {R"({"rules": [{"roles": ["blocks"], "keep": true}]})", {"rule 1", "blocks", "mlp-in"}},
      {R"({"rules": [{"roles": ["norm"], "method": "rtn"}]})", {"rule 1", "norm"}},
      {R"({"rules": [{"layers": [3], "keep": true}]})", {"rule 1", "layers"}},
      {R"({"rules": [{"layers": [3, 2], "keep": true}]})", {"rule 1", "layers"}},
      {R"({"rules": [{"layers": [-1, 2], "keep": true}]})", {"rule 1", "layers"}},
      {R"({"rules": [{"name": "(", "keep": true}]})", {"rule 1", "("}},
      {R"({"rules": [{"name": "", "keep": true}]})", {"rule 1", "name"}},
      {R"({"rules": [], "rules": []})", {"rules", "twice"}},
      {R"({"rules": [{"keep": true}, {"method": "rtn", "bits": 4, "bits": 3}]})",
       {"rules", "2", "bits", "twice"}},
      {R"({"rules": [{"method": "rtn", "params": {"eps": 1, "eps": 1}}]})",
       {"rules", "1", "params", "eps", "twice"}},
  };
  for (const BadRecipe& recipe : bad) {
    const std::string message =
        error_of([&] { parse_recipe(recipe.text, "r.json"); }, ErrorCode::kInvalidArgument);
    EXPECT_NE(message.find("r.json"), std::string::npos) << recipe.text << " -> " << message;
    for (const std::string& part : recipe.said) {
      EXPECT_NE(message.find(part), std::string::npos) << recipe.text << " -> " << message;
    }
  }
}

TEST(Recipe, DeepNestingIsRefused) {
  const std::string deep = std::string(10000, '[') + std::string(10000, ']');
  error_of([&] { parse_recipe("{\"rules\": " + deep + "}", "r"); }, ErrorCode::kInvalidArgument);
}

TEST(RecipeFlags, DefaultsAreEightBitsInGroupsForHeadAndTables) {
  RecipeFlags flags;
  flags.block.method = "pot";
  flags.block.bits = 4;
  const Recipe recipe = recipe_from_flags(flags);
  for (const Role role : {Role::kHead, Role::kEmbedding, Role::kPosition}) {
    const auto choice = choose(recipe, slot_of(role, -1, "x"));
    ASSERT_TRUE(choice) << role_name(role);
    EXPECT_EQ(choice->method, "rtn");
    EXPECT_EQ(choice->bits, 8);
    EXPECT_EQ(choice->group, 128);
  }
  const auto block = choose(recipe, slot_of(Role::kAttentionIn, 0, "x"));
  ASSERT_TRUE(block);
  EXPECT_EQ(block->method, "pot");
}

TEST(RecipeFlags, EveryDataFreeMethodIsATableMethodAtItsDefaultBits) {
  for (const Method& method : all_methods()) {
    RecipeFlags flags;
    flags.block.method = std::string(method.name);
    const MethodChoice choice = choose_method(flags.block);
    flags.head = fmt::format("{}:{}", method.name, choice.bits);
    flags.embeddings = "keep";
    if (needs_moment(choice)) {
      const std::string message =
          error_of([&] { recipe_from_flags(flags); }, ErrorCode::kInvalidArgument);
      EXPECT_NE(message.find("--head"), std::string::npos) << message;
      continue;
    }
    const Recipe recipe = recipe_from_flags(flags);
    const auto head = choose(recipe, slot_of(Role::kHead, -1, "x"));
    ASSERT_TRUE(head) << method.name;
    EXPECT_EQ(head->method, method.name);
    EXPECT_FALSE(choose(recipe, slot_of(Role::kEmbedding, -1, "x")));
  }
}

TEST(RecipeFlags, MistakesNameTheFlag) {
  for (const std::string bad : {"", "rtn", "rtn:", ":8", "rtn:x", "rtn:8:8", "rtn:99", "none:4"}) {
    RecipeFlags flags;
    flags.block.method = "rtn";
    flags.head = bad;
    const std::string message =
        error_of([&] { recipe_from_flags(flags); }, ErrorCode::kInvalidArgument);
    EXPECT_NE(message.find("--head"), std::string::npos) << message;
  }
  RecipeFlags flags;
  flags.block.method = "nonesuch";
  error_of([&] { recipe_from_flags(flags); }, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace twofold
