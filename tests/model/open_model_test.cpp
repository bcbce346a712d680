#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/json.h"
#include "model/model_files.h"
#include "support/paths.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;
using testing::read_file;
using testing::test_data;

class OpenModel : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("twofold-open-{}", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    for (const char* name : {"config.json", "model.safetensors"}) {
      fs::copy_file(test_data("tiny-models/llama-tied") / name, folder_ / name);
    }
    config_ = parse_json(read_file(folder_ / "config.json"), "config");
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write_config() { std::ofstream(folder_ / "config.json") << config_.dump(); }
  std::string refused(ErrorCode code) {
    try {
      open_model(folder_);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      EXPECT_NE(std::string(e.what()).find(folder_.string()), std::string::npos) << e.what();
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
      return e.what();
    }
    ADD_FAILURE() << "accepted";
    return "";
  }

  fs::path folder_;
  Json config_;
};

TEST_F(OpenModel, BindsEveryTensorOnce) {
  const ModelFiles files = open_model(folder_);
  EXPECT_EQ(files.family->name, "llama");
  EXPECT_EQ(files.slots.size(), files.checkpoint->tensors().size());
  EXPECT_EQ(files.slots.front().slot, "embed");
  EXPECT_EQ(files.slots.back().slot, "final_norm");
  EXPECT_EQ(files.find("head"), nullptr);
  ASSERT_NE(files.find("layers.1.mlp.down"), nullptr);
  EXPECT_EQ(files.find("layers.1.mlp.down")->input, "layers.1.mlp.mid");
  int64_t count = 0;
  for (const StoredTensor& tensor : files.checkpoint->tensors()) count += tensor.elements();
  EXPECT_EQ(files.parameters(), count);
}

TEST_F(OpenModel, EveryContainerGivesTheSameModel) {
  const ModelFiles folder = open_model(test_data("tiny-models/llama-q8"));
  const ModelFiles gguf = open_model(test_data("tiny-models/llama-q8.gguf"));
  ASSERT_EQ(folder.slots.size(), gguf.slots.size());
  for (size_t i = 0; i < folder.slots.size(); ++i) {
    EXPECT_EQ(folder.slots[i].slot, gguf.slots[i].slot);
    EXPECT_EQ(folder.slots[i].name, gguf.slots[i].name);
    EXPECT_EQ(folder.slots[i].shape, gguf.slots[i].shape);
    if (folder.slots[i].shape.size() != 2) continue;
    const auto a = make_row_source(*folder.slots[i].tensor, folder.slots[i].view);
    const auto b = make_row_source(*gguf.slots[i].tensor, gguf.slots[i].view);
    std::vector<float> x(static_cast<size_t>(a->rows() * a->cols())), y(x.size());
    a->decode_rows(0, a->rows(), x.data(), a->cols());
    b->decode_rows(0, b->rows(), y.data(), b->cols());
    EXPECT_EQ(x, y) << folder.slots[i].slot;
  }
}

TEST_F(OpenModel, MissingAndMisshapenTensorsAreNamed) {
  config_["num_hidden_layers"] = 3;
  write_config();
  EXPECT_NE(refused(ErrorCode::kCorruptFile).find("model.layers.2."), std::string::npos);
  config_["num_hidden_layers"] = 2;
  config_["vocab_size"] = 97;
  write_config();
  const std::string message = refused(ErrorCode::kCorruptFile);
  EXPECT_NE(message.find("model.embed_tokens.weight"), std::string::npos) << message;
  EXPECT_NE(message.find("[97, 32]"), std::string::npos) << message;
  EXPECT_NE(message.find("[96, 32]"), std::string::npos) << message;
}

TEST_F(OpenModel, WhatIsNoModelIsRefused) {
  fs::remove(folder_ / "model.safetensors");
  refused(ErrorCode::kIo);
  std::ofstream(folder_ / "config.json") << "[1, 2]";
  refused(ErrorCode::kCorruptFile);
  std::ofstream(folder_ / "config.json") << "{";
  refused(ErrorCode::kCorruptFile);
  fs::remove(folder_ / "config.json");
  refused(ErrorCode::kIo);
  EXPECT_THROW(open_model(folder_ / "nothing"), Error);
  std::ofstream(folder_ / "notes.txt") << "hello";
  EXPECT_THROW(open_model(folder_ / "notes.txt"), Error);
}

TEST_F(OpenModel, OtherQuantizationsAndFolderVersionsAreRefused) {
  config_["quantization_config"] = {{"quant_method", "gptq"}, {"bits", 4}};
  write_config();
  refused(ErrorCode::kUnsupported);
  const auto refused_version = [&](int64_t version) {
    config_["quantization_config"] = {{"quant_method", "twofold"}, {"format_version", version}};
    write_config();
    return refused(ErrorCode::kUnsupported);
  };
  const std::string old = refused_version(0);
  EXPECT_NE(old.find("config.json"), std::string::npos) << old;
  EXPECT_NE(old.find("quantize again"), std::string::npos) << old;
  for (const int64_t version : {kFolderFormatVersion + 1, int64_t{99}}) {
    const std::string message = refused_version(version);
    EXPECT_NE(message.find(fmt::format("format_version = {}", version)), std::string::npos);
    EXPECT_NE(message.find("newer twofold"), std::string::npos) << message;
  }
  config_["quantization_config"] = {
      {"quant_method", "twofold"},
      {"format_version", kFolderFormatVersion},
      {"tensors", {{"model.embed_tokens.weight", {{"format", "r16-u4"}, {"shape", {96, 32}}}}}}};
  write_config();
  EXPECT_NE(refused(ErrorCode::kCorruptFile).find("expected packed bytes"), std::string::npos);
}

TEST_F(OpenModel, EveryFieldOfTheQuantizationIsChecked) {
  const Json good = {{"quant_method", "twofold"},
                     {"format_version", kFolderFormatVersion},
                     {"untied_head", false},
                     {"tensors", Json::object()}};
  config_["quantization_config"] = good;
  write_config();
  EXPECT_NO_THROW(open_model(folder_));
  for (const auto& [field, bad] : std::vector<std::pair<std::string, Json>>{
           {"quant_method", 3},
           {"format_version", "zero"},
           {"untied_head", "yes"},
           {"tensors", 3},
           {"tensors", {{"model.norm.weight", 7}}},
           {"tensors", {{"model.norm.weight", {{"format", 7}, {"shape", {32}}}}}},
           {"tensors", {{"model.norm.weight", {{"format", "r16-u4"}, {"shape", {31}}}}}}}) {
    config_["quantization_config"] = good;
    config_["quantization_config"][field] = bad;
    write_config();
    EXPECT_NE(refused(ErrorCode::kCorruptFile).find("quantization_config"), std::string::npos)
        << field;
  }
}

TEST_F(OpenModel, EndTokensOfTheGenerationSettingsCount) {
  config_["eos_token_id"] = {2, 5};
  write_config();
  std::ofstream(folder_ / "generation_config.json") << R"({"eos_token_id": [5, 7]})";
  EXPECT_EQ(open_model(folder_).config.eos_ids, (std::vector<int32_t>{2, 5, 7}));
}

}  // namespace
}  // namespace twofold
