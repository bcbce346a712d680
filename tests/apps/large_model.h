// A model that takes its time.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "io/temporary_folder.h"

namespace twofold::testing {

/// A Llama model of 134 million weights, all zero, and `vocab` tokens: quantizing it takes a while,
/// and so does writing up to its 128 positions.
inline std::filesystem::path large_model(const TemporaryFolder& folder, int64_t vocab) {
  constexpr int64_t kHidden = 1024, kInner = 4096, kLayers = 8;
  OrderedJson header;
  int64_t end = 0;
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape) {
    int64_t bytes = 2;
    for (const int64_t n : shape) bytes *= n;
    header[name] = {{"dtype", "F16"}, {"shape", shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
  };
  add("model.embed_tokens.weight", {vocab, kHidden});
  for (int layer = 0; layer < kLayers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    for (const char* name : {"q", "k", "v", "o"})
      add(prefix + "self_attn." + name + "_proj.weight", {kHidden, kHidden});
    for (const char* name : {"gate", "up"})
      add(prefix + "mlp." + name + "_proj.weight", {kInner, kHidden});
    add(prefix + "mlp.down_proj.weight", {kHidden, kInner});
    add(prefix + "input_layernorm.weight", {kHidden});
    add(prefix + "post_attention_layernorm.weight", {kHidden});
  }
  add("model.norm.weight", {kHidden});
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t size = text.size();
  const std::filesystem::path path = folder.write(
      "model.safetensors", std::string(reinterpret_cast<const char*>(&size), 8) + text);
  std::filesystem::resize_file(path,
                               8 + size + static_cast<uint64_t>(end));  // sparse: takes no disk
  const OrderedJson config = {{"architectures", {"LlamaForCausalLM"}},
                              {"model_type", "llama"},
                              {"hidden_size", kHidden},
                              {"intermediate_size", kInner},
                              {"num_hidden_layers", kLayers},
                              {"num_attention_heads", 16},
                              {"num_key_value_heads", 16},
                              {"max_position_embeddings", 128},
                              {"vocab_size", vocab},
                              {"rms_norm_eps", 1e-5},
                              {"rope_theta", 10000.0},
                              {"hidden_act", "silu"},
                              {"tie_word_embeddings", true}};
  folder.write("config.json", config.dump());
  return folder.path();
}

}  // namespace twofold::testing
