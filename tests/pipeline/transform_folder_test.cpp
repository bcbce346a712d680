// Transforms in folders: what is written reads back, damage is found and named, tables keep the
// model's basis.
#include <cmath>
#include <map>

#include "engine/model.h"
#include "pipeline/quantize_model.h"
#include "pipeline/support.h"
#include "quant/method.h"

namespace twofold {
namespace {

using testing::error_of;
using testing::read_file;
using testing::recipe_of;
using testing::TempFolder;
using testing::tiny_model;
using testing::write_file;
namespace fs = std::filesystem;

constexpr const char* kMatrix = "model.layers.0.self_attn.q_proj.weight";

class TransformFolder : public ::testing::Test {
 protected:
  /// Quantizes llama-gqa to 8 bits after a transform that needs no data.
  fs::path quantized(const std::string& transform, std::map<std::string, std::string> params = {}) {
    RecipeFlags flags;
    flags.block = {.method = "rtn", .bits = 8, .transform = transform, .params = std::move(params)};
    flags.head = flags.embeddings = "rtn:8";
    const Context ctx{.pool = pool_};
    quantize_model(open_model(tiny_model("llama-gqa")), recipe_from_flags(flags),
                   {.output = folder_ / transform, .seed = 7, .command_line = "test"}, ctx);
    return folder_ / transform;
  }

  std::vector<float> logits(const fs::path& path) {
    const auto model = Model::load(path);
    const Context ctx{.pool = pool_};
    const std::vector<int32_t> ids = {1, 5, 9, 2, 7, 3};
    const SequenceInput input{.ids = ids};
    const AlignedBuffer<float> hidden = model->forward({&input, 1}, ctx);
    const int64_t rows = static_cast<int64_t>(ids.size());
    std::vector<float> out(static_cast<size_t>(rows * model->config().vocab_size));
    model->logits({hidden.data(), rows, model->config().hidden},
                  {out.data(), rows, model->config().vocab_size}, ctx);
    return out;
  }

  /// Loads `path` after `edit` was done to the transform of kMatrix; the message of the error.
  template <class Edit>
  std::string load_edited(const fs::path& path, const Edit& edit) {
    const std::string original = read_file(path / "config.json");
    Json config = Json::parse(original);
    edit(config["quantization_config"]["tensors"][kMatrix]["transform"]);
    write_file(path / "config.json", config.dump());
    const std::string message = error_of([&] { Model::load(path); }, ErrorCode::kCorruptFile);
    write_file(path / "config.json", original);
    return message;
  }

  TempFolder folder_;
  ThreadPool pool_{2, false};
};

TEST_F(TransformFolder, RunsLikeTheSource) {
  const std::vector<float> expected = logits(tiny_model("llama-gqa"));
  double size = 0;
  for (const float v : expected) size += static_cast<double>(v) * static_cast<double>(v);
  size = std::sqrt(size);
  for (const auto& [transform, params] :
       std::vector<std::pair<std::string, std::map<std::string, std::string>>>{
           {"hadamard", {}}, {"quip", {{"rescale", "off"}}}}) {
    const std::vector<float> found = logits(quantized(transform, params));
    ASSERT_EQ(found.size(), expected.size());
    double error = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      error += std::pow(static_cast<double>(found[i]) - static_cast<double>(expected[i]), 2);
    }
    // 8 bits cost about 1/500 of each matrix; a basis that is not undone costs all of it.
    EXPECT_LT(std::sqrt(error), 0.05 * size) << transform;
  }
}

TEST_F(TransformFolder, DamageIsFoundAndNamed) {
  const fs::path path = quantized("quip", {{"rescale", "off"}});
  const auto says = [&](const auto& edit, const std::string& word) {
    const std::string message = load_edited(path, edit);
    EXPECT_NE(message.find(word), std::string::npos) << message;
    EXPECT_TRUE(word == "F16" || word == "no.such.tensor" ||
                message.find(kMatrix) != std::string::npos)
        << message;
  };
  says([](Json& t) { t["name"] = "spin"; }, "spin");
  says([](Json& t) { t["input_seed"] = t["input_seed"].get<uint64_t>() ^ 1; }, "checksum");
  says([](Json& t) { t["output_checksum"] = 5; }, "checksum");
  says([](Json& t) { t.erase("output_seed"); }, "output_seed");
  says([](Json& t) { t["input_seed"] = -1; }, "input_seed");
  says([](Json& t) { t["variant"] = "square"; }, "square");
  says([](Json& t) { t["variant"] = 4; }, "variant");
  says([](Json& t) { t = "quip"; }, "object");
  says([](Json& t) { t["input_scale"] = 7; }, "input_scale");
  says([](Json& t) { t["input_scale"] = kMatrix; }, "F16");
  says([](Json& t) { t["input_scale"] = "no.such.tensor"; }, "no.such.tensor");
}

TEST_F(TransformFolder, SignsThatAreNotTheStoredOnesAreRefused) {
  const fs::path path = quantized("hadamard", {});
  for (const char* field : {"input_seed", "output_seed", "input_checksum", "output_checksum"}) {
    const std::string message =
        load_edited(path, [&](Json& t) { t[field] = t[field].get<uint64_t>() ^ 1; });
    EXPECT_NE(message.find("checksum"), std::string::npos) << field << message;
    EXPECT_NE(message.find(kMatrix), std::string::npos) << message;
  }
}

TEST_F(TransformFolder, TablesKeepTheModelsBasis) {
  RecipeFlags flags;
  flags.block = {.method = "rtn", .bits = 8};
  flags.head = flags.embeddings = "rtn:8";
  Recipe recipe = recipe_from_flags(flags);
  for (RecipeRule& rule : recipe.rules) rule.request.transform = "hadamard";
  const std::string message = error_of(
      [&] {
        const Context ctx{.pool = pool_};
        quantize_model(open_model(tiny_model("llama-gqa")), recipe,
                       {.output = folder_ / "x", .seed = 7, .command_line = "test"}, ctx);
      },
      ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find("embed_tokens"), std::string::npos) << message;
  EXPECT_NE(message.find("hadamard"), std::string::npos) << message;
}

}  // namespace
}  // namespace twofold
