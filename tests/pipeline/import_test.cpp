// Imported folders against their sources: numbers, configuration, logits and tokenizer.
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "base/float16.h"
#include "engine/load_tokenizer.h"
#include "engine/model.h"
#include "pipeline/quantize_model.h"
#include "pipeline/support.h"

namespace twofold {
namespace {

using testing::numbers_of;
using testing::read_file;
using testing::shakespeare;
using testing::stories;
using testing::TempFolder;
using testing::tiny_model;
namespace fs = std::filesystem;

/// Every model of the repository, in every container.
std::vector<fs::path> all_models() {
  std::vector<fs::path> models = {shakespeare(), stories()};
  for (const auto& entry : fs::directory_iterator(tiny_model(""))) {
    const fs::path& path = entry.path();
    if (path.filename().string().find("-00002-of-") != std::string::npos) continue;
    if (entry.is_directory() || path.extension() == ".gguf") models.push_back(path);
  }
  std::sort(models.begin(), models.end());
  return models;
}

class Import : public ::testing::Test {
 protected:
  ModelFiles run(const fs::path& source, const std::string& name,
                 std::optional<DType> dtype = std::nullopt) {
    const Context ctx{.pool = pool_};
    import_model(open_model(source), {.output = folder_ / name, .dtype = dtype}, ctx);
    return open_model(folder_ / name);
  }

  /// Logits of the last position, [vocab].
  std::vector<float> logits(const fs::path& path,
                            const std::vector<int32_t>& ids = {1, 5, 9, 2, 33, 7}) {
    const auto model = Model::load(path);
    const SequenceInput sequence{.ids = ids};
    const Context ctx{.pool = pool_};
    const AlignedBuffer<float> hidden = model->forward({&sequence, 1}, ctx);
    const int64_t width = model->config().hidden;
    std::vector<float> out(static_cast<size_t>(model->config().vocab_size));
    model->logits({hidden.data() + (std::ssize(ids) - 1) * width, 1, width},
                  {out.data(), 1, model->config().vocab_size}, ctx);
    return out;
  }

  TempFolder folder_;
  ThreadPool pool_{2, false};
};

TEST_F(Import, AnyContainerAsF32GivesTheSameNumbersAndLogits) {
  ASSERT_GT(all_models().size(), 15u);
  for (const fs::path& path : all_models()) {
    const std::string name = path.filename().string();
    const ModelFiles source = open_model(path);
    const ModelFiles result = run(path, name, DType::kF32);
    EXPECT_EQ(result.container, Container::kHuggingFace);
    ASSERT_EQ(result.slots.size(), source.slots.size()) << name;
    for (size_t i = 0; i < source.slots.size(); ++i) {
      ASSERT_EQ(result.slots[i].name, source.slots[i].name);
      EXPECT_EQ(numbers_of(result.slots[i]), numbers_of(source.slots[i]))
          << name << " " << source.slots[i].name;
      EXPECT_EQ(result.slots[i].tensor->type->dtype, DType::kF32);
    }
    EXPECT_EQ(logits(folder_ / name), logits(path)) << name;
  }
}

TEST_F(Import, GgufBecomesTheFolderItWasMadeFrom) {
  const std::map<std::string, std::string> pairs = {
      {"gpt2.gguf", "gpt2"},
      {"llama-gqa-00001-of-00002.gguf", "llama-gqa"},
      {"llama-rope-linear.gguf", "llama-rope-linear"},
      {"llama-rope-llama3.gguf", "llama-rope-llama3"}};
  for (const auto& [gguf, plain] : pairs) {
    const ModelFiles result = run(tiny_model(gguf), gguf);
    const ModelFiles expected = open_model(tiny_model(plain));
    ASSERT_EQ(result.slots.size(), expected.slots.size());
    for (const Slot& slot : expected.slots) {
      const Slot* found = result.find(slot.slot);
      ASSERT_NE(found, nullptr) << slot.slot;
      EXPECT_EQ(found->tensor->name, slot.tensor->name);
      EXPECT_EQ(found->tensor->shape, slot.tensor->shape) << slot.name;
      EXPECT_EQ(numbers_of(*found), numbers_of(slot)) << gguf << " " << slot.name;
    }
  }
}

TEST_F(Import, EveryGgufGivesTheLogitsOfTheTransformersLibraryAsAFolder) {
  for (const fs::path& path : all_models()) {
    if (path.extension() != ".gguf") continue;
    const std::string name = path.stem().string();
    run(path, name, DType::kF32);  // of block types F16 would be a rounding
    const fs::path golden = tiny_model(name.substr(0, name.find("-00001-of-"))) / "expected.json";
    const Json sequence = Json::parse(read_file(golden))["sequences"][0];
    const auto ids = sequence["ids"].get<std::vector<int32_t>>();
    const Json& expected = sequence["logits"].back();
    const std::vector<float> found = logits(folder_ / name, ids);
    ASSERT_EQ(found.size(), expected.size()) << name;
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(found[i], expected[i].get<double>(), 1e-4) << name << " logit " << i;
    }
  }
}

TEST_F(Import, DenseTypesStayAsStoredAndBlockTypesBecomeF16) {
  for (const fs::path& path : all_models()) {
    const ModelFiles source = open_model(path);
    const ModelFiles result = run(path, path.filename().string());
    for (size_t i = 0; i < source.slots.size(); ++i) {
      EXPECT_EQ(result.slots[i].tensor->type->dtype,
                source.slots[i].tensor->type->dtype.value_or(DType::kF16))
          << path << " " << source.slots[i].name;
    }
  }
}

TEST_F(Import, RoundsToTheNearestOfTheDtype) {
  const ModelFiles source = open_model(shakespeare());
  const ModelFiles half = run(shakespeare(), "f16", DType::kF16);
  const ModelFiles brain = run(shakespeare(), "bf16", DType::kBF16);
  for (size_t i = 0; i < source.slots.size(); ++i) {
    const std::vector<float> x = numbers_of(source.slots[i]);
    const std::vector<float> h = numbers_of(half.slots[i]), b = numbers_of(brain.slots[i]);
    for (size_t j = 0; j < x.size(); ++j) {
      ASSERT_EQ(h[j], to_float(to_float16(x[j])));
      ASSERT_EQ(b[j], to_float(to_bfloat16(x[j])));
    }
  }
}

TEST_F(Import, TheConfigurationNamesTheType) {
  const std::map<DType, std::string> names = {
      {DType::kF32, "float32"}, {DType::kF16, "float16"}, {DType::kBF16, "bfloat16"}};
  for (const auto& [dtype, name] : names) {
    run(tiny_model("gpt2.gguf"), name, dtype);
    const Json config = Json::parse(read_file(folder_ / (name + "/config.json")));
    EXPECT_EQ(config["torch_dtype"], name);
    EXPECT_EQ(config["architectures"], Json({"GPT2LMHeadModel"}));
    EXPECT_EQ(config["model_type"], "gpt2");
  }
  testing::error_of([&] { run(tiny_model("gpt2"), "u8", DType::kU8); },
                    ErrorCode::kInvalidArgument);
}

TEST_F(Import, NumbersBeyondTheDtypeAreRefusedByName) {
  fs::copy(tiny_model("llama-mha"), folder_ / "model");
  const fs::path file = folder_ / "model/model.safetensors";
  std::string bytes = read_file(file);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  const Json tensor = Json::parse(bytes.substr(8, header))[name];
  ASSERT_EQ(tensor["dtype"], "F32");
  char* number = bytes.data() + 8 + header + tensor["data_offsets"][0].get<size_t>() + 4 * 3;
  const auto import_with = [&](float value, DType dtype, const std::string& output) {
    std::memcpy(number, &value, 4);
    testing::write_file(file, bytes);
    return run(folder_ / "model", output, dtype);
  };
  for (const float value : {65520.0f, -70000.0f}) {
    const std::string message =
        testing::error_of([&] { import_with(value, DType::kF16, "out"); }, ErrorCode::kUnsupported);
    EXPECT_NE(message.find(name), std::string::npos) << message;
    EXPECT_NE(message.find("row 0, column 3"), std::string::npos) << message;
    EXPECT_FALSE(fs::exists(folder_ / "out"));
  }
  testing::error_of([&] { import_with(std::numeric_limits<float>::max(), DType::kBF16, "out"); },
                    ErrorCode::kUnsupported);
  EXPECT_NO_THROW(import_with(65504.0f, DType::kF16, "largest"));
  EXPECT_NO_THROW(import_with(70000.0f, DType::kBF16, "brain"));
}

TEST_F(Import, TheTranslatedTokenizerGivesTheSameIds) {
  const ModelFiles source = open_model(stories());
  const ModelFiles result = run(stories(), "out");
  const auto before = load_tokenizer(source), after = load_tokenizer(result);
  ASSERT_NE(before, nullptr);
  ASSERT_NE(after, nullptr);
  const std::string text = "Once upon a time, there was a caf\xc3\xa9.\n\"Hi!\"  she said.";
  EXPECT_EQ(after->encode(text), before->encode(text));
  EXPECT_EQ(after->bos_id(), before->bos_id());
  EXPECT_EQ(after->eos_id(), before->eos_id());
  EXPECT_EQ(after->adds_bos(), before->adds_bos());
  EXPECT_EQ(after->encode(text, {.add_special = true}),
            before->encode(text, {.add_special = true}));
}

TEST_F(Import, AQuantizedSourceIsRefused) {
  const Context ctx{.pool = pool_};
  quantize_model(open_model(tiny_model("gpt2")), testing::recipe_of("rtn", 4),
                 {.output = folder_ / "quantized"}, ctx);
  testing::error_of([&] { run(folder_ / "quantized", "out"); }, ErrorCode::kUnsupported);
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

}  // namespace
}  // namespace twofold
