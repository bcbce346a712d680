#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/json.h"
#include "model/family.h"
#include "model/json_fields.h"
#include "support/paths.h"

namespace twofold {
namespace {

const Json kLlama = {
    {"architectures", {"LlamaForCausalLM"}},
    {"vocab_size", 100},
    {"hidden_size", 64},
    {"num_hidden_layers", 2},
    {"num_attention_heads", 4},
    {"num_key_value_heads", 2},
    {"intermediate_size", 96},
    {"max_position_embeddings", 128},
};
const Json kGpt2 = {
    {"architectures", {"GPT2LMHeadModel"}},
    {"vocab_size", 100},
    {"n_embd", 64},
    {"n_layer", 2},
    {"n_head", 4},
    {"n_positions", 128},
};

ModelConfig parse(const Json& json) {
  const ModelConfig config = find_family(json, "config.json").parse_config(json, "config.json");
  check_config(config, "config.json");
  return config;
}

Json with(Json json, const char* field, Json value) {
  json[field] = std::move(value);
  return json;
}

std::string error_of(const Json& json, ErrorCode expected) {
  try {
    parse(json);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), expected) << e.what();
    EXPECT_EQ(std::string(e.what()).rfind("config.json", 0), 0u) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "accepted: " << json.dump();
  return "";
}

TEST(Config, LlamaDefaultsAreThoseOfTheTransformersLibrary) {
  const ModelConfig c = parse(kLlama);
  EXPECT_EQ(c.head_dim, 16);
  EXPECT_EQ(c.kv_heads, 2);
  EXPECT_DOUBLE_EQ(c.norm_eps, 1e-6);
  EXPECT_DOUBLE_EQ(c.rope.theta, 10000);
  EXPECT_DOUBLE_EQ(c.attention_scale, 0.25);
  EXPECT_FALSE(c.tied_head);
  EXPECT_FALSE(c.attention_bias);
  EXPECT_FALSE(c.transposed_linear);
  EXPECT_EQ(parse(with(kLlama, "num_key_value_heads", nullptr)).kv_heads, 4);
}

TEST(Config, Gpt2DefaultsAreThoseOfTheTransformersLibrary) {
  const ModelConfig c = parse(kGpt2);
  EXPECT_EQ(c.intermediate, 256);
  EXPECT_EQ(c.activation, Activation::kGeluTanh);
  EXPECT_TRUE(c.tied_head);
  EXPECT_TRUE(c.attention_bias && c.attention_out_bias && c.mlp_bias && c.norm_bias);
  EXPECT_TRUE(c.transposed_linear);
  EXPECT_DOUBLE_EQ(parse(with(kGpt2, "scale_attn_weights", false)).attention_scale, 1);
  EXPECT_TRUE(parse(with(kGpt2, "scale_attn_by_inverse_layer_idx", true)).attention_scale_by_layer);
}

TEST(Config, BothSpellingsOfRopeSettingsAreRead) {
  const Json linear = {{"type", "linear"}, {"factor", 4.0}};
  const ModelConfig old_form = parse(with(kLlama, "rope_scaling", linear));
  EXPECT_EQ(old_form.rope.scaling, RopeScaling::kLinear);
  EXPECT_DOUBLE_EQ(old_form.rope.factor, 4);
  const Json parameters = {{"rope_type", "llama3"},   {"rope_theta", 500000.0},
                           {"factor", 8.0},           {"low_freq_factor", 1.0},
                           {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 64}};
  const ModelConfig new_form = parse(with(kLlama, "rope_parameters", parameters));
  EXPECT_EQ(new_form.rope.scaling, RopeScaling::kLlama3);
  EXPECT_DOUBLE_EQ(new_form.rope.theta, 500000);
  EXPECT_EQ(new_form.rope.original_context, 64);
  // Of two, the transformers library takes rope_scaling.
  const ModelConfig both =
      parse(with(with(kLlama, "rope_parameters", parameters), "rope_scaling", linear));
  EXPECT_EQ(both.rope.scaling, RopeScaling::kLinear);
  EXPECT_DOUBLE_EQ(both.rope.theta, 10000);
}

TEST(Config, RopeSettingsInTwoPlacesCountAsInTheTransformersLibrary) {
  const Json parameters = {{"rope_type", "llama3"},   {"rope_theta", 500000.0},
                           {"factor", 8.0},           {"low_freq_factor", 1.0},
                           {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 64}};
  const Json newer = with(kLlama, "rope_parameters", parameters);
  EXPECT_DOUBLE_EQ(parse(with(newer, "rope_scaling", Json::object())).rope.theta, 500000);
  EXPECT_EQ(parse(with(newer, "original_max_position_embeddings", 16)).rope.original_context, 64);
  error_of(with(kLlama, "rope_parameters", {{"full_attention", parameters}}),
           ErrorCode::kUnsupported);
  Json gemma = kLlama;
  gemma["architectures"] = {"Gemma3ForCausalLM"};
  gemma["head_dim"] = 16;
  gemma["rope_parameters"] = {
      {"full_attention", {{"rope_type", "default"}, {"rope_theta", 500000.0}}},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 300.0}}}};
  gemma["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 4.0}};
  const ModelConfig c = parse(gemma);
  EXPECT_DOUBLE_EQ(c.rope.theta, 500000);
  EXPECT_DOUBLE_EQ(c.rope.factor, 4);
  EXPECT_DOUBLE_EQ(c.local_rope->theta, 300);
}

TEST(Config, FieldsThatWouldChangeTheResultAreRefusedByName) {
  EXPECT_NE(error_of(with(kLlama, "hidden_act", "quick_gelu"), ErrorCode::kUnsupported)
                .find("hidden_act = \"quick_gelu\""),
            std::string::npos);
  error_of(with(kLlama, "rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.0}}),
           ErrorCode::kUnsupported);
  error_of(with(kGpt2, "add_cross_attention", true), ErrorCode::kUnsupported);
}

/// A configuration of tests/data/tiny-models.
Json tiny_config(const std::string& name) {
  return Json::parse(testing::read_file(testing::test_data("tiny-models") / name / "config.json"));
}

TEST(Config, TiedHeadsDefaultAsInTheTransformersLibrary) {
  for (const auto& [name, tied] : std::vector<std::pair<std::string, bool>>{{"bloom", true},
                                                                            {"gemma2", true},
                                                                            {"gemma3", true},
                                                                            {"gpt-neox", false},
                                                                            {"gpt2", true},
                                                                            {"granite", false},
                                                                            {"llama-mha", false},
                                                                            {"mistral", false},
                                                                            {"olmo2", false},
                                                                            {"opt", true},
                                                                            {"phi3", false},
                                                                            {"qwen2", false},
                                                                            {"qwen3", false},
                                                                            {"smollm3", true}}) {
    Json config = tiny_config(name);
    config.erase("tie_word_embeddings");
    EXPECT_EQ(parse(config).tied_head, tied) << name;
  }
}

TEST(Config, WindowsAreThoseOfTheTransformersLibrary) {
  const auto windows = [](const Json& json) {
    const ModelConfig c = parse(json);
    std::vector<int64_t> list;
    for (int64_t i = 0; i < c.layers; ++i) list.push_back(c.layer(i).window);
    return list;
  };
  Json mistral = with(tiny_config("mistral"), "num_hidden_layers", 2);
  EXPECT_EQ(windows(with(mistral, "sliding_window", nullptr)), (std::vector<int64_t>{0, 0}));
  mistral.erase("sliding_window");
  EXPECT_EQ(windows(mistral), (std::vector<int64_t>{4096, 4096}));

  Json qwen = with(tiny_config("qwen2"), "num_hidden_layers", 3);
  qwen.erase("layer_types");
  qwen = with(with(qwen, "sliding_window", 5), "max_window_layers", 1);
  EXPECT_EQ(windows(with(qwen, "use_sliding_window", false)), (std::vector<int64_t>{0, 0, 0}));
  qwen = with(qwen, "use_sliding_window", true);
  EXPECT_EQ(windows(qwen), (std::vector<int64_t>{0, 5, 5}));
  const Json types = {"sliding_attention", "full_attention", "full_attention"};
  EXPECT_EQ(windows(with(qwen, "layer_types", types)), (std::vector<int64_t>{5, 0, 0}));
  Json unused = with(with(qwen, "layer_types", types), "use_sliding_window", false);
  for (int i = 0; i < 2; ++i, unused.erase("use_sliding_window")) {
    const std::string message = error_of(unused, ErrorCode::kUnsupported);
    EXPECT_NE(message.find("layer_types"), std::string::npos) << message;
    EXPECT_NE(message.find("needs use_sliding_window = true"), std::string::npos) << message;
  }
  error_of(with(qwen, "layer_types", {"chunked_attention", "x", "x"}), ErrorCode::kUnsupported);
  error_of(with(qwen, "layer_types", {"full_attention"}), ErrorCode::kUnsupported);
  EXPECT_EQ(windows(with(qwen, "sliding_window", nullptr)), (std::vector<int64_t>{0, 0, 0}));

  Json gemma = with(tiny_config("gemma3"), "num_hidden_layers", 4);
  gemma.erase("layer_types");
  gemma = with(with(gemma, "sliding_window", 8), "sliding_window_pattern", 2);
  EXPECT_EQ(windows(gemma), (std::vector<int64_t>{8, 0, 8, 0}));
}

TEST(Config, LayersWithoutRopeAreListedOrCounted) {
  Json json = with(tiny_config("smollm3"), "num_hidden_layers", 4);
  for (const char* name : {"no_rope_layers", "no_rope_layer_interval", "layer_types"}) {
    json.erase(name);
  }
  const auto without = [](const Json& config) {
    std::string marks;
    const ModelConfig c = parse(config);
    for (int64_t i = 0; i < c.layers; ++i) {
      marks += c.layer(i).rope == LayerRope::kNone ? 'n' : 'r';
    }
    return marks;
  };
  EXPECT_EQ(without(json), "rrrn");
  json = with(json, "no_rope_layer_interval", 2);
  EXPECT_EQ(without(json), "rnrn");
  EXPECT_EQ(without(with(json, "no_rope_layers", {0, 1, 1, 0})), "nrrn");
  error_of(with(json, "no_rope_layers", {0, 1}), ErrorCode::kUnsupported);
  error_of(with(json, "no_rope_layer_interval", 0), ErrorCode::kUnsupported);
}

TEST(Config, FieldsOfFamiliesThatAreNotSupportedAreNamed) {
  const auto refused = [](const std::string& model, const char* field, const Json& value) {
    const std::string message =
        error_of(with(tiny_config(model), field, value), ErrorCode::kUnsupported);
    EXPECT_NE(message.find(field), std::string::npos) << message;
  };
  refused("gemma2", "use_bidirectional_attention", true);
  refused("gemma3", "use_bidirectional_attention", true);
  refused("gemma2", "hidden_activation", "quick_gelu");
  refused("opt", "activation_function", "swiglu");
  refused("granite", "logits_scaling", 0);
  for (const Family* family : all_families()) {
    if (family->name == "gpt2" || family->name == "opt" || family->name == "bloom") continue;
    const Json dynamic = {{"rope_type", "dynamic"}, {"factor", 2.0}};
    for (const auto& entry :
         std::filesystem::directory_iterator(testing::test_data("tiny-models"))) {
      if (!std::filesystem::exists(entry.path() / "config.json")) continue;
      const Json config = tiny_config(entry.path().filename().string());
      if (&find_family(config, "test") != family) continue;
      const std::string message =
          error_of(with(config, "rope_scaling", dynamic), ErrorCode::kUnsupported);
      EXPECT_NE(message.find("rope_type = \"dynamic\""), std::string::npos) << message;
    }
  }
}

TEST(Config, BadValuesAreNamed) {
  for (const char* field : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                            "intermediate_size"}) {
    for (const Json& bad : {Json("x"), Json(-1), Json(0), Json(1.5), Json(uint64_t{1} << 60)}) {
      error_of(with(kLlama, field, bad), ErrorCode::kCorruptFile);
    }
    Json missing = kLlama;
    missing.erase(field);
    error_of(missing, ErrorCode::kCorruptFile);
  }
  error_of(with(kLlama, "num_key_value_heads", 3), ErrorCode::kCorruptFile);
  error_of(with(kLlama, "rope_scaling", "linear"), ErrorCode::kCorruptFile);
  error_of(with(kLlama, "rope_scaling", {{"type", "linear"}, {"factor", 0}}),
           ErrorCode::kCorruptFile);
  error_of(with(kGpt2, "n_head", 5), ErrorCode::kCorruptFile);
  Json gemma = tiny_config("gemma3");
  gemma.erase("rope_parameters");
  parse(with(gemma, "rope_local_base_freq", 100.0));
  EXPECT_NE(error_of(with(gemma, "rope_local_base_freq", -1), ErrorCode::kCorruptFile)
                .find("of layers with a window: rope_theta"),
            std::string::npos);
}

TEST(Config, UnknownFamiliesAreRefusedWithTheKnownOnes) {
  const std::string message =
      error_of(with(kLlama, "architectures", {"MambaForCausalLM"}), ErrorCode::kUnsupported);
  for (const Family* family : all_families()) {
    EXPECT_NE(message.find(family->architectures.front()), std::string::npos) << message;
  }
  error_of(Json::object(), ErrorCode::kCorruptFile);
  // A known model_type does not make an unknown architecture runnable.
  error_of(with(with(kLlama, "architectures", {"LlamaForSequenceClassification"}), "model_type",
                "llama"),
           ErrorCode::kUnsupported);
}

TEST(Family, EveryRuleIsComplete) {
  for (const Family* family : all_families()) {
    for (const TensorRule& rule : family->rules) {
      EXPECT_FALSE(rule.slot.empty());
      EXPECT_FALSE(rule.source.empty()) << rule.slot;
      EXPECT_FALSE(rule.gguf.empty() && !family->gguf_names.empty()) << rule.slot;
      const bool reads = is_block_linear(rule.role) || rule.role == Role::kRouter;
      EXPECT_EQ(reads, !rule.input.empty()) << rule.slot;
      const bool numbered = rule.slot.find("{i}") != std::string_view::npos;
      EXPECT_EQ(numbered, rule.source.find("{i}") != std::string_view::npos) << rule.slot;
      if (rule.gguf.empty()) continue;
      EXPECT_EQ(numbered, rule.gguf.find("{i}") != std::string_view::npos) << rule.slot;
    }
  }
}

TEST(Family, RulesNameTheInputsOfABlockInTheirOrder) {
  constexpr std::array kOrder = {Role::kAttentionIn, Role::kAttentionOut, Role::kMlpIn,
                                 Role::kMlpOut};
  for (const Family* family : all_families()) {
    for (const bool experts : {false, true}) {  // two kinds of blocks
      size_t at = 0;
      for (const TensorRule& rule : family->rules) {
        const auto found = std::ranges::find(kOrder, rule.role);
        if (found == kOrder.end()) continue;
        if ((rule.slot.find("{e}") != std::string_view::npos) != experts) continue;
        const bool attention = found - kOrder.begin() < 2;
        if (experts && attention) continue;
        EXPECT_LE(at, static_cast<size_t>(found - kOrder.begin())) << rule.slot;
        at = static_cast<size_t>(found - kOrder.begin());
      }
    }
  }
}

}  // namespace
}  // namespace twofold
