#include "io/gguf.h"

#include <gtest/gtest.h>

#include <functional>

#include "io/bad_files.h"
#include "io/gguf_builder.h"
#include "io/temporary_folder.h"

namespace twofold {
namespace {

using namespace testing;

/// Reads everything that the file holds.
void read_all(const std::filesystem::path& path) {
  const GgufFile file = read_gguf(path);
  for (const StoredTensor& tensor : file.tensors) {
    if (tensor.type->decode == nullptr) continue;
    std::vector<float> numbers(static_cast<size_t>(tensor.elements()));
    tensor.decode(0, tensor.elements(), numbers.data());
  }
}

TEST(Gguf, VersionsTwoAndThreeGiveKeysAndTensors) {
  for (const uint32_t version : {2u, 3u}) {
    const TemporaryFolder folder;
    GgufBuilder builder = small_gguf();
    builder.version = version;
    const GgufFile file = read_gguf(folder.write("m.gguf", builder.bytes()));
    EXPECT_EQ(file.get_string("general.architecture"), "llama");
    EXPECT_EQ(file.get_int("llama.block_count"), 2);
    EXPECT_EQ(*file.get_strings("tokenizer.ggml.tokens"),
              (std::vector<std::string>{"a", "", "\xc3\xa9"}));
    EXPECT_EQ(file.get_floats("tokenizer.ggml.scores"), (std::vector<double>{1.5, -2}));
    EXPECT_TRUE(file.get_bool("tokenizer.ggml.add_bos_token", false));
    ASSERT_EQ(file.tensors.size(), 2u);
    EXPECT_EQ(file.tensors[0].shape, (Shape{2, 4}));
    EXPECT_EQ(file.tensors[1].shape, (Shape{3, 32}));
    EXPECT_EQ(file.tensors[1].type->name, "Q4_0");
    std::vector<float> numbers(8);
    file.tensors[0].decode(0, 8, numbers.data());
    for (size_t i = 0; i < 8; ++i) EXPECT_EQ(numbers[i], static_cast<float>(i));
    EXPECT_EQ(file.tensors[1].bytes.size(), 54u);
  }
}

TEST(Gguf, EveryValueTypeIsWidenedWithoutLoss) {
  const TemporaryFolder folder;
  GgufBuilder builder;
  builder.keys = {gguf_key<uint8_t>("u8", 0, 200),
                  gguf_key<int8_t>("i8", 1, -100),
                  gguf_key<uint16_t>("u16", 2, 60000),
                  gguf_key<int16_t>("i16", 3, -30000),
                  gguf_key<uint32_t>("u32", 4, 4000000000u),
                  gguf_key<int32_t>("i32", 5, -2000000000),
                  gguf_key<float>("f32", 6, 0.1f),
                  gguf_key<uint8_t>("bool", 7, 0),
                  gguf_key<uint64_t>("u64", 10, uint64_t{1} << 63),
                  gguf_key<int64_t>("i64", 11, INT64_MIN),
                  gguf_key<double>("f64", 12, 0.1),
                  gguf_array("au8", 0, 2, "\x01\xff"),
                  gguf_array("ai8", 1, 2, "\x01\xff"),
                  gguf_array("au16", 2, 1, raw<uint16_t>(65535)),
                  gguf_array("ai16", 3, 1, raw<int16_t>(-1)),
                  gguf_array("au32", 4, 1, raw<uint32_t>(UINT32_MAX)),
                  gguf_array("ai32", 5, 1, raw<int32_t>(-5)),
                  gguf_array("af32", 6, 1, raw(0.25f)),
                  gguf_array("abool", 7, 3, std::string("\1\0\1", 3)),
                  gguf_array("au64", 10, 1, raw<uint64_t>(1)),
                  gguf_array("ai64", 11, 1, raw<int64_t>(INT64_MIN)),
                  gguf_array("af64", 12, 1, raw(0.1)),
                  gguf_array("empty", 8, 0, "")};
  const GgufFile file = read_gguf(folder.write("m.gguf", builder.bytes()));
  EXPECT_EQ(file.get_int("u8"), 200);
  EXPECT_EQ(file.get_int("i8"), -100);
  EXPECT_EQ(file.get_int("u16"), 60000);
  EXPECT_EQ(file.get_int("i16"), -30000);
  EXPECT_EQ(file.get_int("u32"), 4000000000);
  EXPECT_EQ(file.get_int("i32"), -2000000000);
  EXPECT_EQ(file.get_float("f32"), static_cast<double>(0.1f));
  EXPECT_FALSE(file.get_bool("bool", true));
  EXPECT_EQ(std::get<uint64_t>(file.metadata.at("u64")), uint64_t{1} << 63);
  EXPECT_EQ(file.get_int("i64"), INT64_MIN);
  EXPECT_EQ(file.get_float("f64"), 0.1);
  EXPECT_EQ(file.get_float("u8"), 200.0);
  EXPECT_EQ(file.get_ints("au8"), (std::vector<int64_t>{1, 255}));
  EXPECT_EQ(file.get_ints("ai8"), (std::vector<int64_t>{1, -1}));
  EXPECT_EQ(file.get_ints("au16"), (std::vector<int64_t>{65535}));
  EXPECT_EQ(file.get_ints("ai16"), (std::vector<int64_t>{-1}));
  EXPECT_EQ(file.get_ints("au32"), (std::vector<int64_t>{UINT32_MAX}));
  EXPECT_EQ(file.get_ints("ai32"), (std::vector<int64_t>{-5}));
  EXPECT_EQ(file.get_floats("af32"), (std::vector<double>{0.25}));
  EXPECT_EQ(file.get_ints("abool"), (std::vector<int64_t>{1, 0, 1}));
  EXPECT_EQ(file.get_ints("au64"), (std::vector<int64_t>{1}));
  EXPECT_EQ(file.get_ints("ai64"), (std::vector<int64_t>{INT64_MIN}));
  EXPECT_EQ(file.get_floats("af64"), (std::vector<double>{0.1}));
  EXPECT_TRUE(file.get_strings("empty")->empty());
}

TEST(Gguf, MissingAndWrongKeysAreNamed) {
  const TemporaryFolder folder;
  GgufBuilder builder = small_gguf();
  builder.keys.push_back(gguf_key<uint64_t>("big", 10, UINT64_MAX));
  const GgufFile file = read_gguf(folder.write("m.gguf", builder.bytes()));
  EXPECT_EQ(file.get_int("absent", 7), 7);
  EXPECT_EQ(file.get_float("absent", 0.5), 0.5);
  EXPECT_EQ(file.get_string("absent", "x"), "x");
  EXPECT_TRUE(file.get_bool("absent", true));
  EXPECT_EQ(file.get_strings("absent"), nullptr);
  EXPECT_TRUE(file.get_floats("absent").empty());
  EXPECT_TRUE(file.get_ints("absent").empty());
  EXPECT_FALSE(file.has("absent"));
  EXPECT_TRUE(file.has("big"));
  const auto refused = [](std::string_view part, const std::function<void()>& action) {
    expect_error(ErrorCode::kCorruptFile, part, action);
    expect_error(ErrorCode::kCorruptFile, "m.gguf: ", action);
  };
  refused("expected the metadata key absent", [&] { file.get_int("absent"); });
  refused("expected the metadata key absent", [&] { file.get_float("absent"); });
  refused("expected the metadata key absent", [&] { file.get_string("absent"); });
  const std::string text = "general.architecture", scores = "tokenizer.ggml.scores";
  refused("key general.architecture: expected an integer, found a text",
          [&] { file.get_int(text, 1); });
  refused("expected a number, found a text", [&] { file.get_float(text, 1); });
  refused("expected a boolean, found a text", [&] { file.get_bool(text, true); });
  refused("expected a text, found a list of numbers", [&] { file.get_string(scores, ""); });
  refused("expected a list of texts, found a list of numbers", [&] { file.get_strings(scores); });
  refused("expected a list of numbers, found a text", [&] { file.get_floats(text); });
  refused("expected a list of integers, found a list of numbers", [&] { file.get_ints(scores); });
  refused("key big: 18446744073709551615 is out of range", [&] { file.get_int("big"); });
}

struct BadGguf {
  std::string message;  // part of it
  std::function<void(GgufBuilder&)> damage;
};

std::vector<BadGguf> bad_headers() {
  const uint64_t huge = uint64_t{1} << 60;
  return {
      {"starts with \"GGUF\"", [](GgufBuilder& f) { f.magic = "GGML"; }},
      {"starts with \"GGUF\"", [](GgufBuilder& f) { f.magic = "FUGG"; }},
      {"found 0", [](GgufBuilder& f) { f.version = 0; }},
      {"found 1", [](GgufBuilder& f) { f.version = 1; }},
      {"found 4", [](GgufBuilder& f) { f.version = 4; }},
      {"big-endian", [](GgufBuilder& f) { f.version = 3u << 24; }},
      {"number of tensors: 1152921504606846976", [=](GgufBuilder& f) { f.tensor_count = huge; }},
      {"number of tensors", [](GgufBuilder& f) { f.tensor_count = UINT64_MAX; }},
      {"", [](GgufBuilder& f) { f.tensor_count = 3; }},
      {"number of metadata keys: 1152921504606846976", [=](GgufBuilder& f) { f.key_count = huge; }},
      {"", [](GgufBuilder& f) { f.key_count = 6; }},
      {"", [](GgufBuilder& f) { f.key_count = 4; }},
  };
}

std::vector<BadGguf> bad_keys() {
  const uint64_t huge = uint64_t{1} << 60;
  const auto with = [](GgufKey key) {
    return [key](GgufBuilder& f) { f.keys.insert(f.keys.begin(), key); };
  };
  std::string nested;
  for (int i = 0; i < 10000; ++i) nested += raw<uint32_t>(9) + raw<uint64_t>(1);
  return {
      {"metadata key: 1152921504606846976 cannot fit", with({raw(huge), 4, raw(1)})},
      {"metadata key: not valid UTF-8", with(gguf_text("\xff", ""))},
      {"metadata key: not valid UTF-8", with(gguf_text("\xed\xa0\x80", ""))},
      {"key llama.block_count is given twice", with(gguf_key<int>("llama.block_count", 4, 1))},
      {"k: expected a value type 0 to 12, found 13", with(gguf_key<int>("k", 13, 1))},
      {"k: expected a value type", with(gguf_key<int>("k", UINT32_MAX, 1))},
      {"k: expected a boolean, found 2", with(gguf_key<uint8_t>("k", 7, 2))},
      {"k: 1152921504606846976 cannot fit", with({gguf_string("k"), 8, raw(huge)})},
      {"k: not valid UTF-8", with(gguf_text("k", "a\x80"))},
      {"k: not valid UTF-8", with(gguf_array("k", 8, 1, gguf_string("\xc0\x80")))},
      {"k: expected a value type", with(gguf_array("k", 99, 1, "x"))},
      {"k: expected a boolean, found 9", with(gguf_array("k", 7, 1, "\x09"))},
      {"k: 1152921504606846976 cannot fit", with(gguf_array("k", 0, huge, ""))},
      {"k: 1152921504606846976 cannot fit", with(gguf_array("k", 8, huge, ""))},
      {"k: arrays of arrays", with({gguf_string("k"), 9, nested})},
      {"general.alignment: expected a power of two, found 0",
       with(gguf_key<uint32_t>("general.alignment", 4, 0))},
      {"general.alignment: expected a power of two, found 48",
       with(gguf_key<uint32_t>("general.alignment", 4, 48))},
      {"general.alignment: expected a power of two, found -32",
       with(gguf_key<int32_t>("general.alignment", 5, -32))},
      {"", with(gguf_key<uint64_t>("general.alignment", 10, uint64_t{1} << 62))},
      {"key general.alignment: expected an integer", with(gguf_text("general.alignment", "32"))},
      {"split.count 2", with(gguf_key<uint16_t>("split.count", 2, 2))},
      {"split.no 1", with(gguf_key<uint16_t>("split.no", 2, 1))},
  };
}

std::vector<BadGguf> bad_tensors() {
  const uint64_t huge = uint64_t{1} << 60;
  const auto change = [](std::function<void(GgufTensor&)> damage) {
    return [damage](GgufBuilder& f) { damage(f.tensors[1]); };
  };
  return {
      {"tensor name: 1152921504606846976 cannot fit",
       change([=](GgufTensor& t) { t.name = raw(huge); })},
      {"tensor name: not valid UTF-8",
       change([](GgufTensor& t) { t.name = gguf_string("\xf5\x80\x80\x80"); })},
      {"tensor f32: given twice", change([](GgufTensor& t) { t.name = gguf_string("f32"); })},
      {"tensor q4: expected at most 4 sides, found 5", change([](GgufTensor& t) {
         t.sides = {32, 1, 1, 1, 3};
       })},
      {"tensor q4: expected at most 4 sides",
       change([](GgufTensor& t) { t.side_count = UINT32_MAX; })},
      {"tensor q4: expected data up to byte", change([](GgufTensor& t) {
         t.sides = {32, 4};
       })},
      {"tensor q4: rows of Q4_0 expected in blocks of 32, found shape [32, 3]",
       change([](GgufTensor& t) {
         t.sides = {3, 32};
       })},
      {"tensor q4", change([=](GgufTensor& t) {
         t.sides = {huge, huge};
       })},
      {"tensor q4", change([=](GgufTensor& t) {
         t.sides = {huge, 3};
       })},
      {"tensor q4", change([](GgufTensor& t) {
         t.sides = {32, UINT64_MAX};
       })},
      {"tensor q4: type number 4 is not known", change([](GgufTensor& t) { t.type = 4; })},
      {"tensor q4: type number 4294967295", change([](GgufTensor& t) { t.type = UINT32_MAX; })},
      {"tensor q4: expected data up to byte", change([](GgufTensor& t) { t.type = 0; })},
      {"tensor q4: expected an offset in multiples of 32, found 33",
       change([](GgufTensor& t) { t.offset = 33; })},
      {"data overlaps that of tensor", change([](GgufTensor& t) { t.offset = 0; })},
      {"tensor q4: expected data up to byte", change([](GgufTensor& t) { t.offset = 64; })},
      {"tensor q4: expected data up to byte", change([=](GgufTensor& t) { t.offset = huge; })},
      {"tensor q4", change([](GgufTensor& t) { t.offset = UINT64_MAX - 31; })},
  };
}

TEST(Gguf, DamageToEachFieldIsRefused) {
  const TemporaryFolder folder;
  size_t cases = 0;
  for (const auto& corpus : {bad_headers(), bad_keys(), bad_tensors()}) {
    for (const BadGguf& bad : corpus) {
      GgufBuilder builder = small_gguf();
      bad.damage(builder);
      const std::string message = read_damaged(folder, builder.bytes(), read_all);
      EXPECT_NE(message, "") << bad.message;
      EXPECT_NE(message.find(bad.message), std::string::npos) << message;
      ++cases;
    }
  }
  EXPECT_EQ(cases, 52u);
}

TEST(Gguf, EveryPrefixOfAFileIsRefused) { expect_prefixes_refused(small_gguf().bytes(), read_all); }

TEST(Gguf, RandomDamageGivesErrorsOnly) {
  expect_only_errors_from_random_damage(small_gguf().bytes(), 4000, read_all);
}

TEST(Gguf, AlignmentOfTheFileIsHonoured) {
  const TemporaryFolder folder;
  GgufBuilder builder = small_gguf();
  builder.keys.push_back(gguf_key<uint32_t>("general.alignment", 4, 256));
  builder.alignment = 256;
  builder.tensors[1].offset = 256;
  builder.data.insert(32, 224, '\0');
  const GgufFile file = read_gguf(folder.write("m.gguf", builder.bytes()));
  EXPECT_EQ(file.tensors[1].bytes[0], std::byte{0x35});
}

/// Three parts with one tensor each.
void write_parts(const TemporaryFolder& folder,
                 const std::function<void(int part, GgufBuilder&)>& change = {}) {
  for (int part = 0; part < 3; ++part) {
    GgufBuilder builder;
    builder.keys = {gguf_key<uint16_t>("split.no", 2, static_cast<uint16_t>(part)),
                    gguf_key<uint16_t>("split.count", 2, 3),
                    gguf_key<int32_t>("split.tensors.count", 5, 3)};
    if (part == 0) builder.keys.push_back(gguf_text("general.name", "whole"));
    builder.tensors = {{gguf_string("t" + std::to_string(part)), {1}, 0, 0}};
    builder.data = raw(static_cast<float>(part));
    if (change) change(part, builder);
    folder.write("m-0000" + std::to_string(part + 1) + "-of-00003.gguf", builder.bytes());
  }
}

TEST(Gguf, SplitFilesAreReadFromTheFirstPart) {
  const TemporaryFolder folder;
  write_parts(folder);
  const GgufFile file = read_gguf(folder.file("m-00001-of-00003.gguf"));
  EXPECT_EQ(file.get_string("general.name"), "whole");
  ASSERT_EQ(file.tensors.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    float number = -1;
    file.tensors[i].decode(0, 1, &number);
    EXPECT_EQ(number, static_cast<float>(i));
  }
  expect_error(ErrorCode::kUnsupported, "00002-of-00003.gguf: is part 2 of 3: open part 1",
               [&] { read_gguf(folder.file("m-00002-of-00003.gguf")); });
}

TEST(Gguf, IncompleteOrMixedPartsAreRefused) {
  const auto refused = [](ErrorCode code, std::string_view part,
                          const std::function<void(int, GgufBuilder&)>& change) {
    const TemporaryFolder folder;
    write_parts(folder, change);
    if (!change) std::filesystem::remove(folder.file("m-00002-of-00003.gguf"));
    expect_error(code, part, [&] { read_gguf(folder.file("m-00001-of-00003.gguf")); });
  };
  refused(ErrorCode::kIo, "m-00002-of-00003.gguf", {});
  refused(ErrorCode::kCorruptFile, "m-00003-of-00003.gguf: tensor t0: is in an earlier part too",
          [](int part, GgufBuilder& f) {
            if (part == 2) f.tensors[0].name = gguf_string("t0");
          });
  refused(ErrorCode::kCorruptFile, "m-00002-of-00003.gguf: expected part 2 of 3",
          [](int part, GgufBuilder& f) {
            if (part == 1) f.keys[0] = gguf_key<uint16_t>("split.no", 2, 2);
          });
  refused(ErrorCode::kCorruptFile, "m-00001-of-00003.gguf: expected part 1 of 3",
          [](int, GgufBuilder& f) { f.keys[1] = gguf_key<uint16_t>("split.count", 2, 4); });
  refused(ErrorCode::kCorruptFile, "expected 5 tensors in 3 parts, found 3",
          [](int, GgufBuilder& f) { f.keys[2] = gguf_key<int32_t>("split.tensors.count", 5, 5); });
}

TEST(Gguf, FilesAreRecognizedByTheirMagic) {
  const TemporaryFolder folder;
  EXPECT_TRUE(looks_like_gguf(folder.write("a", "GGUF")));
  EXPECT_FALSE(looks_like_gguf(folder.write("b", "GGU")));
  EXPECT_FALSE(looks_like_gguf(folder.write("c", "ggufx")));
  EXPECT_FALSE(looks_like_gguf(folder.path()));
  EXPECT_FALSE(looks_like_gguf(folder.file("absent")));
}

}  // namespace
}  // namespace twofold
