// Metadata of the GGUF files of every family, damaged or beyond what is supported.
#include <functional>

#include "base/json.h"
#include "io/bad_files.h"
#include "io/gguf_builder.h"
#include "model/model_files.h"
#include "support/paths.h"

namespace twofold {
namespace {

using namespace testing;
namespace fs = std::filesystem;

struct File {
  std::string name, architecture;
  GgufBuilder builder;
};

std::string name_of(const GgufKey& key) { return key.name.substr(8); }

/// The files of one part of tests/data/tiny-models: one or more of each family.
std::vector<File> gguf_files() {
  std::vector<File> files;
  for (const auto& entry : fs::directory_iterator(test_data("tiny-models"))) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(".gguf") || name.find("-of-") != std::string::npos) continue;
    File& file = files.emplace_back(File{name, "", parse_gguf(read_file(entry.path()))});
    for (const GgufKey& key : file.builder.keys) {
      if (name_of(key) == "general.architecture") file.architecture = key.value.substr(8);
    }
  }
  return files;
}

void open(const fs::path& path) { open_model(path); }

/// The same file with another value of a key, or with one more key.
GgufBuilder with_key(GgufBuilder file, const GgufKey& key) {
  for (GgufKey& old : file.keys) {
    if (old.name == key.name) {
      old = key;
      return file;
    }
  }
  file.keys.push_back(key);
  return file;
}

TEST(GgufMetadata, TheFilesAreThoseOfEveryFamilyThatReadsThem) {
  std::set<std::string> found;
  for (const File& file : gguf_files()) {
    const TemporaryFolder folder;
    EXPECT_EQ(read_damaged(folder, file.builder.bytes(), open), "") << file.name;
    found.insert(file.architecture);
  }
  for (const Family* family : all_families()) {
    for (const std::string_view name : family->gguf_names) {
      EXPECT_TRUE(found.contains(std::string(name))) << name;
    }
  }
}

TEST(GgufMetadata, EveryKeyOfEveryFamilyIsChecked) {
  for (const File& file : gguf_files()) {
    const TemporaryFolder folder;
    for (size_t i = 0; i < file.builder.keys.size(); ++i) {
      const std::string name = name_of(file.builder.keys[i]);
      if (name.starts_with("general.") && name != "general.architecture") continue;
      GgufBuilder damaged = file.builder;
      // A wrong number may show only in the shape of a tensor, or not at all; a wrong type never.
      const auto refused = [&] { return read_damaged(folder, damaged.bytes(), open); };
      for (const GgufKey& bad :
           {gguf_text(name, "x\ny"), gguf_array(name, 4, 2, raw(1) + raw(2))}) {
        damaged.keys[i] = bad;
        const std::string message = refused();
        if (name.ends_with(".vocab_size")) continue;  // the token table says it
        EXPECT_NE(message.find(name), std::string::npos) << file.name << ": " << message;
      }
      for (const GgufKey& bad :
           {gguf_key<uint64_t>(name, 10, 0), gguf_key<uint64_t>(name, 10, uint64_t{1} << 63),
            gguf_key<uint64_t>(name, 10, uint64_t{1} << 39), gguf_key<int32_t>(name, 5, -1),
            gguf_key<float>(name, 6, NAN), gguf_key<float>(name, 6, -1e30f),
            gguf_key<uint8_t>(name, 7, 1)}) {
        damaged.keys[i] = bad;
        refused();
      }
      damaged.keys.erase(damaged.keys.begin() + static_cast<std::ptrdiff_t>(i));
      refused();
    }
  }
}

TEST(GgufMetadata, WhatWouldChangeTheResultIsRefusedByKeyAndValue) {
  struct Field {
    std::string_view key, value;
    std::function<GgufKey(const std::string&)> encoded;
  };
  const auto real = [](float x) {
    return [x](const std::string& name) { return gguf_key<float>(name, 6, x); };
  };
  const auto number = [](uint32_t x) {
    return [x](const std::string& name) { return gguf_key<uint32_t>(name, 4, x); };
  };
  const Field fields[] = {
      {"attention.clamp_kqv", "8", real(8)},
      {"attention.max_alibi_bias", "4", real(4)},
      {"attention.causal", "false",
       [](const std::string& name) { return gguf_key<uint8_t>(name, 7, 0); }},
      {"attention.something_new", "2.5", real(2.5)},
      {"rope.scaling.type", "\"dynamic\"",
       [](const std::string& name) { return gguf_text(name, "dynamic"); }},
      {"rope.dimension_sections", "a list of 2",
       [](const std::string& name) { return gguf_array(name, 4, 2, raw(1) + raw(2)); }},
      {"expert_shared_count", "1", number(1)},
      {"nextn_predict_layers", "1", number(1)},
      {"router_logit_softcapping", "30", real(30)},
  };
  for (const File& file : gguf_files()) {
    const TemporaryFolder folder;
    for (const Field& field : fields) {
      const std::string name = file.architecture + "." + std::string(field.key);
      const std::string message =
          read_damaged(folder, with_key(file.builder, field.encoded(name)).bytes(), open);
      EXPECT_NE(message.find(fmt::format("{} = {} is not supported", name, field.value)),
                std::string::npos)
          << file.name << ": " << message;
    }
  }
}

TEST(GgufMetadata, WhatCannotChangeTheResultIsIgnored) {
  for (const File& file : gguf_files()) {
    const TemporaryFolder folder;
    const std::string prefix = file.architecture + ".";
    GgufBuilder builder = file.builder;
    for (const GgufKey& key : {gguf_key<uint8_t>(prefix + "attention.causal", 7, 1),
                               gguf_key<float>(prefix + "attention.clamp_kqv", 6, 0),
                               gguf_key<uint32_t>(prefix + "nextn_predict_layers", 4, 0),
                               gguf_key<uint32_t>(prefix + "expert_shared_count", 4, 0),
                               gguf_key<uint8_t>(prefix + "rope.scaling.finetuned", 7, 1),
                               gguf_text(prefix + "tensor_data_layout", "whatever"),
                               gguf_key<uint32_t>(prefix + "something_new", 4, 7)}) {
      builder = with_key(builder, key);
    }
    EXPECT_EQ(read_damaged(folder, builder.bytes(), open), "") << file.name;
  }
}

TEST(GgufMetadata, EndsOfTurnsAndOfCallsEndATextToo) {
  const TemporaryFolder folder;
  const auto key = [](const std::string& name, uint32_t id) {
    return gguf_key<uint32_t>("tokenizer.ggml." + name + "_token_id", 4, id);
  };
  for (const File& file : gguf_files()) {
    GgufBuilder builder = with_key(file.builder, key("eos", 2));
    const auto opened = [&] { return open_model(folder.write("m.gguf", builder.bytes())); };
    EXPECT_EQ(opened().config.eos_ids, (std::vector<int32_t>{2})) << file.name;
    EXPECT_EQ(opened().config_json["eos_token_id"], 2) << file.name;
    builder = with_key(with_key(builder, key("eot", 5)), key("eom", 2));
    EXPECT_EQ(opened().config.eos_ids, (std::vector<int32_t>{2, 5})) << file.name;
    EXPECT_EQ(opened().config_json["eos_token_id"], Json({2, 5})) << file.name;
  }
}

/// The same file with a tensor for every expert, as they were written before 2024-04.
GgufBuilder with_single_experts(const GgufBuilder& joined) {
  GgufBuilder file = joined;
  file.tensors.clear();
  for (const GgufTensor& tensor : joined.tensors) {
    const std::string name = tensor.name.substr(8);
    const size_t mark = name.find("_exps.");
    if (mark == std::string::npos) {
      file.tensors.push_back(tensor);
      continue;
    }
    const size_t number_bytes = tensor.type == 0 ? 4 : 2;
    EXPECT_LE(tensor.type, 1u) << "F32 or F16";
    const size_t bytes = tensor.sides[0] * tensor.sides[1] * number_bytes;
    for (uint64_t e = 0; e < tensor.sides[2]; ++e) {
      file.data.resize((file.data.size() + 31) / 32 * 32);
      const std::string single = fmt::format("{}.{}.weight", name.substr(0, mark), e);
      file.tensors.push_back(
          {gguf_string(single), {tensor.sides[0], tensor.sides[1]}, tensor.type, file.data.size()});
      file.data += joined.data.substr(tensor.offset + e * bytes, bytes);
    }
  }
  return file;
}

std::vector<float> numbers_of(const Slot& slot) {
  std::vector<float> numbers(static_cast<size_t>(slot.shape[0] * slot.shape[1]));
  make_row_source(*slot.tensor, slot.view)
      ->decode_rows(0, slot.shape[0], numbers.data(), slot.shape[1]);
  return numbers;
}

TEST(GgufMetadata, ExpertsMayHaveTensorsOfTheirOwn) {
  const TemporaryFolder folder;
  const fs::path joined = test_data("tiny-models") / "mixtral.gguf";
  const GgufBuilder file = with_single_experts(parse_gguf(read_file(joined)));
  const ModelFiles wanted = open_model(joined);
  const ModelFiles found = open_model(folder.write("single.gguf", file.bytes()));
  ASSERT_EQ(found.slots.size(), wanted.slots.size());
  int64_t experts = 0;
  for (size_t i = 0; i < found.slots.size(); ++i) {
    EXPECT_EQ(found.slots[i].slot, wanted.slots[i].slot);
    if (found.slots[i].expert < 0) continue;
    ++experts;
    EXPECT_EQ(found.slots[i].tensor->shape, found.slots[i].shape);
    EXPECT_EQ(numbers_of(found.slots[i]), numbers_of(wanted.slots[i])) << found.slots[i].slot;
  }
  EXPECT_EQ(experts, found.config.layers * found.config.experts * 3);
  GgufBuilder lacking = file;
  std::erase_if(lacking.tensors, [](const GgufTensor& tensor) {
    return tensor.name.ends_with("blk.1.ffn_up.2.weight");
  });
  EXPECT_NE(read_damaged(folder, lacking.bytes(), open).find("blk.1.ffn_up_exps.weight"),
            std::string::npos);
}

TEST(GgufMetadata, ATensorThatTheFamilyDoesNotHaveIsRefused) {
  for (const File& file : gguf_files()) {
    const TemporaryFolder folder;
    GgufBuilder builder = file.builder;
    builder.tensors.push_back(
        {gguf_string("blk.0.attn_sinks.weight"), {4}, 0, (builder.data.size() + 31) / 32 * 32});
    builder.data.resize(builder.tensors.back().offset + 32);
    EXPECT_NE(read_damaged(folder, builder.bytes(), open).find("blk.0.attn_sinks.weight"),
              std::string::npos)
        << file.name;
  }
}

}  // namespace
}  // namespace twofold
