// What GGUF metadata means to each family, where the tiny models do not show it.
#include "model/gguf_fields.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "model/family.h"

namespace twofold {
namespace {

using Json = nlohmann::json;

/// Metadata of a model of 12 layers with 4 heads of 8.
GgufFile metadata(const std::string& architecture) {
  GgufFile file;
  file.path = "model.gguf";
  file.metadata["general.architecture"] = architecture;
  const auto put = [&](const char* key, GgufValue value) {
    file.metadata[architecture + "." + key] = std::move(value);
  };
  put("block_count", uint64_t{12});
  put("context_length", uint64_t{64});
  put("embedding_length", uint64_t{32});
  put("feed_forward_length", uint64_t{64});
  put("attention.head_count", uint64_t{4});
  put("attention.layer_norm_rms_epsilon", double{1e-6f});
  put("attention.sliding_window", uint64_t{8});
  return file;
}

Json config_of(const GgufFile& file) {
  GgufFields fields(file);
  Json config = find_gguf_family(file).config_from_gguf(fields);
  fields.refuse_unread();
  config["vocab_size"] = 96;
  return config;
}

ModelConfig parsed(const GgufFile& file) {
  const Json config = config_of(file);
  return find_family(config, "config.json").parse_config(config, "config.json");
}

std::string error_of(const GgufFile& file, ErrorCode expected) {
  try {
    config_of(file);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), expected) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "accepted";
  return "";
}

GgufFile llama() {
  GgufFile file = metadata("llama");
  file.metadata.erase("llama.attention.sliding_window");
  return file;
}

TEST(GgufFields, NumbersOfSinglePrecisionBecomeTheDecimalTheyWereWrittenAs) {
  GgufFile file = llama();
  EXPECT_EQ(config_of(file)["rms_norm_eps"].dump(), "1e-06");
  file.metadata["llama.rope.freq_base"] = double{0.22f};
  EXPECT_EQ(config_of(file)["rope_theta"].dump(), "0.22");
  file.metadata["llama.rope.freq_base"] = 0.22;  // double precision stays as it is
  EXPECT_EQ(config_of(file)["rope_theta"].dump(), "0.22");
}

TEST(GgufFields, RopeHasBase10000WhereTheFileDoesNotSay) {
  EXPECT_EQ(parsed(llama()).rope.theta, 10000);
  EXPECT_EQ(parsed(metadata("gemma3")).rope.theta, 10000);
  EXPECT_EQ(parsed(metadata("gemma3")).local_rope->theta, 10000);
}

TEST(GgufFields, AFactorWithoutATypeIsLinearScaling) {
  GgufFile file = llama();
  for (const char* key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    file = llama();
    file.metadata[key] = 2.5;
    EXPECT_EQ(parsed(file).rope.scaling, RopeScaling::kLinear) << key;
    EXPECT_EQ(parsed(file).rope.factor, 2.5) << key;
    file.metadata["llama.rope.scaling.type"] = std::string("none");
    EXPECT_EQ(parsed(file).rope.scaling, RopeScaling::kNone) << key;
  }
}

TEST(GgufFields, YarnIsReadWithItsBoundsAndRefusedWithFurtherFactors) {
  GgufFile file = llama();
  file.metadata["llama.rope.scaling.type"] = std::string("yarn");
  EXPECT_NE(error_of(file, ErrorCode::kCorruptFile).find("llama.rope.scaling.factor"),
            std::string::npos);
  file.metadata["llama.rope.scaling.factor"] = 4.0;
  file.metadata["llama.rope.scaling.original_context_length"] = uint64_t{16};
  file.metadata["llama.rope.scaling.yarn_beta_fast"] = 24.0;
  const RopeConfig rope = parsed(file).rope;
  EXPECT_EQ(rope.scaling, RopeScaling::kYarn);
  EXPECT_EQ(rope.factor, 4);
  EXPECT_EQ(rope.original_context, 16);
  EXPECT_EQ(rope.beta_fast, 24);
  EXPECT_EQ(rope.beta_slow, 1);
  file.metadata["llama.rope.scaling.yarn_attn_factor"] = 1.0;
  EXPECT_NO_THROW(config_of(file));
  for (const char* key : {"llama.rope.scaling.attn_factor", "llama.rope.scaling.yarn_attn_factor",
                          "llama.rope.scaling.yarn_log_multiplier"}) {
    GgufFile other = file;
    other.metadata[key] = 0.5;
    EXPECT_NE(error_of(other, ErrorCode::kUnsupported).find(fmt::format("{} = 0.5", key)),
              std::string::npos);
  }
}

TEST(GgufFields, LlamaWithExpertsIsMixtral) {
  GgufFile file = llama();
  file.metadata["llama.expert_count"] = uint64_t{8};
  file.metadata["llama.expert_used_count"] = uint64_t{2};
  const Json config = config_of(file);
  EXPECT_EQ(config["architectures"], Json::array({"MixtralForCausalLM"}));
  EXPECT_EQ(config["num_local_experts"], 8);
  EXPECT_EQ(config["num_experts_per_tok"], 2);
  file.metadata["llama.expert_gating_func"] = uint64_t{2};
  EXPECT_NE(error_of(file, ErrorCode::kUnsupported).find("llama.expert_gating_func = 2"),
            std::string::npos);
  file.metadata["llama.expert_count"] = uint64_t{0};
  file.metadata.erase("llama.expert_gating_func");
  file.metadata.erase("llama.expert_used_count");
  EXPECT_EQ(config_of(file)["model_type"], "llama");
}

TEST(GgufFields, WindowsOfGemmaFollowTheArchitectureOrThePatternOfTheFile) {
  const auto sliding = [](const GgufFile& file) {
    std::string layers;
    for (const LayerConfig& layer : parsed(file).layer_configs) {
      EXPECT_TRUE(layer.window == 0 || layer.window == 8);
      layers += layer.window > 0 ? 's' : '-';
    }
    return layers;
  };
  EXPECT_EQ(sliding(metadata("gemma2")), "s-s-s-s-s-s-");
  EXPECT_EQ(sliding(metadata("gemma3")), "sssss-sssss-");
  GgufFile file = metadata("gemma3");
  file.metadata["gemma3.attention.sliding_window_pattern"] = uint64_t{4};
  EXPECT_EQ(sliding(file), "sss-sss-sss-");
  std::vector<uint64_t> list(12, 0);
  list[3] = 1;
  file.metadata["gemma3.attention.sliding_window_pattern"] = list;
  EXPECT_EQ(sliding(file), "---s--------");
  list.pop_back();
  file.metadata["gemma3.attention.sliding_window_pattern"] = list;
  EXPECT_NE(error_of(file, ErrorCode::kCorruptFile).find("sliding_window_pattern"),
            std::string::npos);
  file = metadata("gemma2");
  file.metadata["gemma2.attention.sliding_window"] = uint64_t{0};
  EXPECT_EQ(sliding(file), "------------");
  file.metadata.erase("gemma2.attention.sliding_window");
  EXPECT_EQ(parsed(file).layer(0).window, 4096);
}

TEST(GgufFields, QueriesOfTheLargestGemmasHaveAScaleOfTheirOwn) {
  for (const auto& [architecture, layers] : {std::pair{"gemma2", 46}, std::pair{"gemma3", 62}}) {
    GgufFile file = metadata(architecture);
    const std::string prefix = std::string(architecture) + ".";
    file.metadata[prefix + "attention.key_length"] = uint64_t{16};
    EXPECT_EQ(config_of(file)["query_pre_attn_scalar"], 16);
    file.metadata[prefix + "block_count"] = static_cast<uint64_t>(layers);
    EXPECT_EQ(config_of(file)["query_pre_attn_scalar"], 32 / 4);
  }
}

TEST(GgufFields, SoftCapsOfGemma2HaveDefaultsAndMayBeNone) {
  GgufFile file = metadata("gemma2");
  EXPECT_EQ(parsed(file).attention_softcap, 50);
  EXPECT_EQ(parsed(file).logit_softcap, 30);
  file.metadata["gemma2.attn_logit_softcapping"] = 0.0;
  EXPECT_EQ(parsed(file).attention_softcap, 0);
  EXPECT_TRUE(config_of(file)["attn_logit_softcapping"].is_null());
  EXPECT_EQ(parsed(metadata("gemma3")).logit_softcap, 0);
}

TEST(GgufFields, GraniteWithoutFactorsIsScaledAsLlama) {
  GgufFile file = metadata("granite");
  file.metadata.erase("granite.attention.sliding_window");
  const ModelConfig config = parsed(file);
  EXPECT_NEAR(config.attention_scale, 1 / std::sqrt(8.0), 1e-7);
  EXPECT_EQ(config.embedding_scale, 1);
  EXPECT_EQ(config.residual_scale, 1);
  EXPECT_EQ(config.logit_scale, 1);
  file.metadata["granite.rope.scaling.finetuned"] = false;
  EXPECT_NE(error_of(file, ErrorCode::kUnsupported).find("granite.rope.scaling.finetuned = false"),
            std::string::npos);
}

TEST(GgufFields, SharesOfAHeadGiveBackTheNumbersThatTurn) {
  for (int64_t head = 1; head <= 300; ++head) {
    for (int64_t dims = 1; dims <= head; ++dims) {
      const double share = rope_share(dims, head);
      EXPECT_EQ(static_cast<int64_t>(share * static_cast<double>(head)), dims) << head;
      EXPECT_LE(share, 1);
    }
  }
}

}  // namespace
}  // namespace twofold
