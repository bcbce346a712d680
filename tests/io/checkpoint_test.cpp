#include "io/checkpoint.h"

#include <gtest/gtest.h>

#include "io/bad_files.h"
#include "io/safetensors.h"
#include "io/temporary_folder.h"

namespace twofold {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

/// model-0000K-of-00002.safetensors with tensors a, b and c (one byte each), and their index.
void write_two_shards(const TemporaryFolder& folder) {
  SafetensorsWriter writer(folder.path(),
                           {{"a", DType::kU8, {1}}, {"b", DType::kU8, {1}}, {"c", DType::kU8, {1}}},
                           {}, 2);
  const std::string bytes = "xyz";
  for (size_t i = 0; i < 3; ++i) writer.write(std::as_bytes(std::span(bytes)).subspan(i, 1));
  writer.finish();
}

constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::string_view kFirst = "model-00001-of-00002.safetensors";
constexpr std::string_view kSecond = "model-00002-of-00002.safetensors";

std::string index_of(std::string_view a, std::string_view b, std::string_view c) {
  return fmt::format(R"({{"weight_map":{{"a":"{}","b":"{}","c":"{}"}}}})", a, b, c);
}

TEST(Checkpoint, FindsTensorsByName) {
  const TemporaryFolder folder;
  write_two_shards(folder);
  const Checkpoint checkpoint = open_safetensors_folder(folder.path());
  EXPECT_TRUE(checkpoint.has("c"));
  EXPECT_FALSE(checkpoint.has("d"));
  EXPECT_EQ(checkpoint.get("b").bytes[0], std::byte{'y'});
  EXPECT_EQ(checkpoint.get("c").bytes[0], std::byte{'z'});
  EXPECT_EQ(checkpoint.stored_bytes(), 3);
  expect_error(ErrorCode::kCorruptFile, "index.json: expected tensor d",
               [&] { checkpoint.get("d"); });
}

TEST(Checkpoint, TheSameNameTwiceIsRefused) {
  StoredTensor tensor;
  tensor.name = "a";
  tensor.file = "one";
  tensor.type = &stored_type_of(DType::kU8);
  expect_error(ErrorCode::kCorruptFile, "one: tensor a: given before in one", [&] {
    Checkpoint("source", {tensor, tensor});
  });
}

TEST(Checkpoint, AFolderWithoutWeightsIsNamed) {
  const TemporaryFolder folder;
  expect_error(ErrorCode::kIo, "expected model.safetensors or model.safetensors.index.json",
               [&] { open_safetensors_folder(folder.path()); });
  expect_error(ErrorCode::kIo, folder.file("absent").string(),
               [&] { open_safetensors_folder(folder.file("absent")); });
}

TEST(Checkpoint, IndexAndShardsThatDisagreeAreRefused) {
  struct Case {
    ErrorCode code;
    std::string message;
    std::string index;
  };
  const std::vector<Case> cases = {
      {ErrorCode::kCorruptFile, "tensor a: model.safetensors.index.json expects it in model-00002",
       index_of(kSecond, kFirst, kSecond)},
      {ErrorCode::kCorruptFile, "tensor c: model.safetensors.index.json does not list it",
       fmt::format(R"({{"weight_map":{{"a":"{0}","b":"{0}","x":"{1}"}}}})", kFirst, kSecond)},
      {ErrorCode::kCorruptFile, "model-00002-of-00002.safetensors: expected tensor d",
       fmt::format(R"({{"weight_map":{{"a":"{0}","b":"{0}","c":"{1}","d":"{1}"}}}})", kFirst,
                   kSecond)},
      {ErrorCode::kIo, "absent.safetensors", index_of(kFirst, kFirst, "absent.safetensors")},
      {ErrorCode::kCorruptFile, "index.json: not valid JSON", "{"},
      {ErrorCode::kCorruptFile, "index.json: JSON nested deeper", std::string(10000, '[')},
      {ErrorCode::kCorruptFile, "expected an object \"weight_map\"", "[]"},
      {ErrorCode::kCorruptFile, "expected an object \"weight_map\"", "{}"},
      {ErrorCode::kCorruptFile, "expected an object \"weight_map\"", R"({"weight_map":[]})"},
      {ErrorCode::kCorruptFile, "expected an object \"weight_map\"", R"({"weight_map":{}})"},
      {ErrorCode::kCorruptFile, "weight_map of a: expected a file name, found number",
       R"({"weight_map":{"a":1}})"},
  };
  for (const Case& c : cases) {
    const TemporaryFolder folder;
    write_two_shards(folder);
    folder.write(kIndex, c.index);
    expect_error(c.code, c.message, [&] { open_safetensors_folder(folder.path()); });
  }
}

TEST(Checkpoint, ShardNamesCannotLeaveTheFolder) {
  for (const std::string_view name : {"", ".", "..", "../x.safetensors", "/etc/passwd",
                                      "sub/x.safetensors", "..\\\\x", "a\\u0000b"}) {
    const TemporaryFolder folder;
    write_two_shards(folder);
    folder.write(kIndex, index_of(kFirst, kFirst, name));
    expect_error(ErrorCode::kCorruptFile, "weight_map of c: expected the name of a file",
                 [&] { open_safetensors_folder(folder.path()); });
  }
}

}  // namespace
}  // namespace twofold
