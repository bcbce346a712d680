#include "io/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/json.h"
#include "io/checkpoint.h"
#include "io/temporary_folder.h"
#include "support/paths.h"

namespace twofold {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

const std::vector<TensorPlan> kPlan = {{"b", DType::kF32, {2, 3}},
                                       {"empty", DType::kF16, {0, 7}},
                                       {"a", DType::kBF16, {5}},
                                       {"scalar", DType::kI64, {}},
                                       {"codes", DType::kU8, {33}}};

std::string bytes_of(size_t count, char first) {
  std::string bytes(count, '\0');
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<char>(first + static_cast<char>(i));
  return bytes;
}

/// Writes kPlan with the bytes 0, 1, 2, ... for each tensor, a few bytes at a time.
uint64_t write_plan(const std::filesystem::path& folder, uint64_t max_shard_bytes) {
  SafetensorsWriter writer(folder, kPlan, {{"format", "pt"}}, max_shard_bytes);
  for (const size_t size : {24, 10, 8, 33}) {
    const std::string bytes = bytes_of(size, 0);
    writer.write(std::as_bytes(std::span(bytes).first(3)));
    writer.write(std::as_bytes(std::span(bytes).subspan(3)));
  }
  writer.finish();
  return writer.total_bytes();
}

void expect_plan(const std::vector<StoredTensor>& tensors) {
  ASSERT_EQ(tensors.size(), kPlan.size());
  for (const TensorPlan& plan : kPlan) {
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const StoredTensor& t) { return t.name == plan.name; });
    ASSERT_NE(found, tensors.end()) << plan.name;
    EXPECT_EQ(found->shape, plan.shape);
    EXPECT_EQ(found->type, &stored_type_of(plan.dtype));
    const std::string expected = bytes_of(found->bytes.size(), 0);
    EXPECT_EQ(std::memcmp(found->bytes.data(), expected.data(), expected.size()), 0) << plan.name;
  }
}

TEST(Safetensors, WhatIsWrittenIsReadInTheOrderGiven) {
  const TemporaryFolder folder;
  const uint64_t total = write_plan(folder.path(), 1 << 20);
  const auto path = folder.file("model.safetensors");
  EXPECT_EQ(total, std::filesystem::file_size(path));
  const SafetensorsFile file = read_safetensors(path);
  expect_plan(file.tensors);
  EXPECT_EQ(file.metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
  std::string order;
  for (const StoredTensor& tensor : file.tensors) order += tensor.name + " ";
  EXPECT_EQ(order, "b empty a scalar codes ");
}

TEST(Safetensors, DataStartsAtAMultipleOf64) {
  for (int length = 0; length < 70; ++length) {
    const TemporaryFolder folder;
    SafetensorsWriter writer(
        folder.path(), {{std::string(static_cast<size_t>(length + 1), 'n'), DType::kU8, {1}}}, {});
    const std::string byte = "x";
    writer.write(std::as_bytes(std::span(byte)));
    writer.finish();
    const SafetensorsFile file = read_safetensors(folder.file("model.safetensors"));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(file.tensors.at(0).bytes.data()) % 64, 0u);
    EXPECT_EQ(std::filesystem::file_size(folder.file("model.safetensors")) % 64, 1u);
  }
}

TEST(Safetensors, ShardsHoldThePlanAndTheIndexListsThem) {
  const TemporaryFolder folder;
  const uint64_t total = write_plan(folder.path(), 34);  // b+empty+a | scalar | codes: 34, 8, 33
  const Checkpoint checkpoint = open_safetensors_folder(folder.path());
  expect_plan(checkpoint.tensors());
  EXPECT_EQ(checkpoint.stored_bytes(), 24 + 10 + 8 + 33);
  uint64_t on_disk = 0;
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    if (entry.path().extension() != ".safetensors") continue;
    on_disk += entry.file_size();
    ++files;
  }
  EXPECT_EQ(files, 3u);
  EXPECT_EQ(on_disk, total);
  const Json index =
      parse_json(testing::read_file(folder.file("model.safetensors.index.json")), "index");
  EXPECT_EQ(index["metadata"]["total_size"], 24 + 10 + 8 + 33);
  EXPECT_EQ(index["weight_map"]["b"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["codes"], "model-00003-of-00003.safetensors");
}

TEST(Safetensors, TheWriterRefusesWhatThePlanDoesNotSay) {
  const TemporaryFolder folder;
  const std::string bytes(5, 'x');
  const auto data = std::as_bytes(std::span(bytes));
  const std::vector<TensorPlan> plan = {{"t", DType::kU8, {4}}};
  expect_error(ErrorCode::kInternal, "t: expected 4 bytes more, was given 5",
               [&] { SafetensorsWriter(folder.path(), plan, {}).write(data); });
  expect_error(ErrorCode::kInternal, "t: planned but not written", [&] {
    SafetensorsWriter writer(folder.path(), plan, {});
    writer.write(data.first(3));
    writer.finish();
  });
  expect_error(ErrorCode::kInternal, "data after the last", [&] {
    SafetensorsWriter writer(folder.path(), plan, {});
    writer.write(data.first(4));
    writer.write(data.first(1));
  });
  expect_error(ErrorCode::kInternal, "planned twice", [&] {
    SafetensorsWriter(folder.path(), {plan[0], plan[0]}, {});
  });
}

TEST(Safetensors, ReadsAFileOfThePythonPackage) {
  // tools/make_safetensors_golden.py
  const SafetensorsFile file =
      read_safetensors(testing::test_data("safetensors/python.safetensors"));
  EXPECT_EQ(file.metadata.at("format"), "pt");
  std::map<std::string, const StoredTensor*> by_name;
  for (const StoredTensor& tensor : file.tensors) by_name[tensor.name] = &tensor;
  ASSERT_EQ(by_name.size(), 5u);
  for (const char* name : {"f32", "f16", "bf16"}) {  // 0, -0.5, -1, ... of shape [2, 3]
    const StoredTensor& tensor = *by_name.at(name);
    EXPECT_EQ(tensor.shape, (Shape{2, 3}));
    std::vector<float> numbers(6);
    tensor.decode(0, 6, numbers.data());
    for (size_t i = 0; i < 6; ++i) EXPECT_EQ(numbers[i], -0.5f * static_cast<float>(i)) << name;
  }
  EXPECT_EQ(by_name.at("bool")->type->name, "BOOL");
  EXPECT_EQ(by_name.at("\xc3\xa9t\xc3\xa9.i64")->type->name, "I64");
}

}  // namespace
}  // namespace twofold
