#include "io/safetensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/json.h"
#include "base/sha256.h"
#include "io/bad_files.h"
#include "io/checkpoint.h"
#include "io/gguf_builder.h"
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

TEST(Safetensors, AWriterGoesOnBehindTheTensorsThatAreAsTheyWereWritten) {
  const TemporaryFolder folder;
  constexpr std::array<size_t, 5> kSizes = {24, 0, 10, 8, 33};
  std::vector<std::string> hashes;
  for (const size_t size : kSizes) hashes.push_back(sha256_hex(bytes_of(size, 0)));
  for (const uint64_t shard : {uint64_t{34}, kMaxShardBytes}) {
    for (size_t known = 0; known <= kPlan.size(); ++known) {
      // Of the others, one has changed, the last ones are missing.
      for (size_t changed = 0; changed <= kPlan.size(); ++changed) {
        write_plan(folder.path(), shard);
        std::vector<std::string> expected(hashes.begin(),
                                          hashes.begin() + static_cast<std::ptrdiff_t>(known));
        if (changed < known) expected[changed] = hashes[(changed + 1) % hashes.size()];
        SafetensorsWriter writer(folder.path(), kPlan, {{"format", "pt"}}, expected, shard);
        size_t kept = std::min(known, changed);
        if (kept == 1) kept = 2;  // nothing is to be written of an empty tensor
        EXPECT_EQ(writer.written(), kept) << known << " " << changed;
        for (size_t i = 0; i < kept; ++i) {
          const Tensor tensor = writer.read(i);
          EXPECT_EQ(sha256_hex(tensor.view.bytes), hashes[i]);
          EXPECT_EQ(tensor.view.shape, kPlan[i].shape);
        }
        for (size_t i = kept; i < kPlan.size(); ++i) {
          const std::string bytes = bytes_of(kSizes[i], 0);
          writer.write(std::as_bytes(std::span(bytes)));
        }
        writer.finish();
        expect_plan(open_safetensors_folder(folder.path()).tensors());
        for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
          std::filesystem::remove(entry.path());
        }
      }
    }
  }
}

TEST(Safetensors, AWriterStartsAnewWhereTheFileIsOfAnotherPlan) {
  const TemporaryFolder folder;
  const std::vector<std::string> hashes = {sha256_hex(bytes_of(24, 0))};
  const auto path = folder.file("model.safetensors");
  for (const std::string& other : {std::string(), std::string("short"), std::string(2000, 'x')}) {
    write_text_file(path, other);
    EXPECT_EQ(SafetensorsWriter(folder.path(), kPlan, {}, hashes).written(), 0u);
  }
  std::filesystem::remove(path);
  EXPECT_EQ(SafetensorsWriter(folder.path(), kPlan, {}, hashes).written(), 0u);
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

/// A file with this header and data.
std::string file_of(const std::string& header, size_t data_bytes) {
  return testing::raw<uint64_t>(header.size()) + header + std::string(data_bytes, '\1');
}

void read_all(const std::filesystem::path& path) {
  for (const StoredTensor& tensor : read_safetensors(path).tensors) {
    if (tensor.type->decode == nullptr) continue;
    std::vector<float> numbers(static_cast<size_t>(tensor.elements()));
    tensor.decode(0, tensor.elements(), numbers.data());
  }
}

constexpr std::string_view kValidHeader =
    R"({"__metadata__":{"k":"v"},"b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},)"
    R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";

struct BadHeader {
  std::string message;  // part of it
  std::string from;     // a part of kValidHeader
  std::string to;       // what stands there instead
};

const std::vector<BadHeader> kBadHeaders = {
    {"header: expected an object, found an array", "{\"__metadata__\"", "[{\"__metadata__\""},
    {"header is not valid JSON", "{\"__metadata__\"", "{\"__metadata__"},
    {"header is not valid JSON", "[0,4]}}", "[0,4]}"},
    {"header is not valid JSON", "[0,4]}}", "[0,4]}}}"},
    {"header is not valid JSON", "\"v\"", "\"\xff\""},
    {"header is not valid JSON", "\"b\"", "\"\xed\xa0\x80\""},
    {"metadata k: expected a text, found the number 5", "\"v\"", "5"},
    {"metadata k: expected a text, found an object", "\"v\"", "{}"},
    {"metadata k: expected a text, found null", "\"v\"", "null"},
    {"the name k is given twice", "\"v\"", "\"v\",\"k\":\"w\""},
    {"header field __metadata__: expected an object", "{\"k\":\"v\"}", "\"v\""},
    {"the name b is given twice", "\"a\"", "\"b\""},
    {"the name __metadata__ is given twice", "\"a\":{", "\"__metadata__\":{},\"a\":{"},
    {"header field a: expected an object describing a tensor, found the number 1", "\"a\":{",
     "\"a\":1,\"c\":{"},
    {"tensor a: dtype F13 is not known", "F32", "F13"},
    {"tensor a: dtype F8_E4M3 is not known", "F32", "F8_E4M3"},
    {"tensor a: expected 8 bytes for I64 [1]", "F32", "I64"},
    {"tensor a: dtype: expected dtype (a text)", "\"F32\"", "32"},
    {"tensor a: dtype: expected", "\"F32\"", "[\"F32\"]"},
    {"tensor a: what: expected", "\"dtype\":\"F32\"", "\"what\":\"F32\""},
    {"tensor a: shape: expected", "\"dtype\":\"F32\",", "\"dtype\":\"F32\",\"shape\":[1],"},
    {"tensor a: expected dtype, shape and two data_offsets", "\"dtype\":\"F32\",", ""},
    {"tensor a: expected dtype, shape and two data_offsets", "\"shape\":[1],", ""},
    {"tensor a: expected dtype, shape and two data_offsets", ",\"data_offsets\":[0,4]", ""},
    {"tensor a: shape: expected sides that are not negative, found the negative number -1", "[1]",
     "[-1]"},
    {"tensor a: shape: expected", "[1]", "[1.0]"},
    {"tensor a: shape: expected", "[1]", "[\"1\"]"},
    {"tensor a: shape: expected", "[1]", "[[1]]"},
    {"tensor a: shape: expected", "[1]", "[true]"},
    {"tensor a: shape: expected", "[1]", "1"},
    {"tensor a: expected 8 bytes for F32 [2]", "[1]", "[2]"},
    {"tensor a: expected 0 bytes for F32 [0]", "[1]", "[0]"},
    {"does not fit", "[1]", "[1152921504606846976,1152921504606846976]"},
    {"tensor a: 4611686018427387904 x 4 does not fit", "[1]", "[4611686018427387904]"},
    {"tensor a: shape: 18446744073709551615 is out of range", "[1]", "[18446744073709551615]"},
    {"tensor a: shape: expected", "[1]", "[99999999999999999999]"},
    {"header is not valid JSON", "[1]", "[1e999]"},
    {"tensor a: data_offsets: expected two numbers that are not negative, found 1 numbers", "[0,4]",
     "[0]"},
    {"tensor a: data_offsets: expected two numbers that are not negative, found 3 numbers", "[0,4]",
     "[0,4,4]"},
    {"tensor a: data_offsets: expected", "[0,4]", "[-4,0]"},
    {"tensor a: data_offsets: expected", "[0,4]", "[null,4]"},
    {"expected data_offsets from 0 (no hole, no overlap), found 4", "[0,4]", "[4,0]"},
    {"expected data_offsets from 0 (no hole, no overlap), found 1", "[0,4]", "[1,4]"},
    {"tensor b: expected data_offsets from 4 (no hole, no overlap), found 3", "[4,16]", "[3,16]"},
    {"tensor b: expected data_offsets from 4 (no hole, no overlap), found 5", "[4,16]", "[5,17]"},
    {"tensor b: expected 12 bytes for F16 [2, 3]", "[4,16]", "[4,15]"},
    {"tensor b: expected 12 bytes for F16 [2, 3]", "[4,16]", "[4,1152921504606846976]"},
    {"tensor b: expected 12 bytes for F16 [2, 3]", "[4,16]", "[4,2]"},
    {"tensor b: expected data up to byte 18, found 16 bytes", "[2,3],\"data_offsets\":[4,16]",
     "[7],\"data_offsets\":[4,18]"},
    {"expected 14 bytes of data, found 16", "[2,3],\"data_offsets\":[4,16]",
     "[5],\"data_offsets\":[4,14]"},
};

TEST(Safetensors, TheHeaderOfTheCorpusIsValidBeforeItIsDamaged) {
  const TemporaryFolder folder;
  const SafetensorsFile file =
      read_safetensors(folder.write("f", file_of(std::string(kValidHeader), 16)));
  ASSERT_EQ(file.tensors.size(), 2u);
  EXPECT_EQ(file.tensors[0].name, "a");  // file order, not header order
  EXPECT_EQ(file.tensors[1].shape, (Shape{2, 3}));
}

TEST(Safetensors, DamageToEachFieldIsRefused) {
  const TemporaryFolder folder;
  for (const BadHeader& bad : kBadHeaders) {
    std::string header(kValidHeader);
    const size_t place = header.rfind(bad.from);
    ASSERT_NE(place, std::string::npos) << bad.from;
    header.replace(place, bad.from.size(), bad.to);
    const std::string message = testing::read_damaged(folder, file_of(header, 16), read_all);
    EXPECT_NE(message.find(bad.message), std::string::npos) << bad.message << "\n"
                                                            << header << "\n"
                                                            << message;
  }
}

TEST(Safetensors, DeepNestingAnywhereIsRefused) {
  const TemporaryFolder folder;
  for (const std::string& open : {std::string("["), std::string("{\"a\":")}) {
    std::string deep;
    for (int i = 0; i < 10000; ++i) deep += open;
    for (const std::string& header :
         {deep, "{\"a\":" + deep, "{\"__metadata__\":" + deep, "{\"a\":{\"shape\":" + deep}) {
      EXPECT_NE(testing::read_damaged(folder, file_of(header, 0), read_all), "");
    }
  }
}

TEST(Safetensors, WrongHeaderSizesAreRefused) {
  const TemporaryFolder folder;
  const std::string file = file_of(std::string(kValidHeader), 16);
  for (const uint64_t size :
       {uint64_t{0}, uint64_t{1}, uint64_t{kValidHeader.size() - 1},
        uint64_t{kValidHeader.size() + 1}, uint64_t{file.size() - 8}, uint64_t{file.size()},
        uint64_t{100'000'000}, uint64_t{100'000'001}, uint64_t{1} << 60, UINT64_MAX}) {
    const std::string damaged = testing::raw(size) + file.substr(8);
    EXPECT_NE(testing::read_damaged(folder, damaged, read_all), "") << size;
  }
  EXPECT_NE(testing::read_damaged(folder, file + "x", read_all), "");
}

TEST(Safetensors, EveryPrefixOfAFileIsRefused) {
  testing::expect_prefixes_refused(file_of(std::string(kValidHeader), 16), read_all);
}

TEST(Safetensors, RandomDamageGivesErrorsOnly) {
  testing::expect_only_errors_from_random_damage(file_of(std::string(kValidHeader), 16), 4000,
                                                 read_all);
}

}  // namespace
}  // namespace twofold
