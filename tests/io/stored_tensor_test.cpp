#include "io/stored_tensor.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "base/float16.h"
#include "base/rng.h"
#include "io/ggml_blocks.h"
#include "io/temporary_folder.h"
#include "support/paths.h"

namespace twofold {
namespace {

using testing::expect_error;

/// A tensor of random bytes with small finite scales: all blocks come from the golden file.
struct Golden {
  StoredTensor tensor;          // [n]
  std::vector<float> expected;  // [n]
};

std::shared_ptr<const std::string> shared_bytes(std::string bytes) {
  return std::make_shared<const std::string>(std::move(bytes));
}

StoredTensor make_tensor(const StoredType& type, Shape shape, std::string bytes) {
  StoredTensor tensor;
  const auto owner = shared_bytes(std::move(bytes));
  tensor.name = "blk.0.weight";
  tensor.file = "test.gguf";
  tensor.type = &type;
  tensor.shape = std::move(shape);
  tensor.bytes = std::as_bytes(std::span(*owner));
  tensor.owner = owner;
  return tensor;
}

Golden load_golden(const StoredType& type) {
  const auto folder = testing::test_data("gguf-blocks");
  std::string blocks = testing::read_file(folder / (std::string(type.name) + ".blocks"));
  const std::string numbers = testing::read_file(folder / (std::string(type.name) + ".f32"));
  Golden golden;
  golden.expected.resize(numbers.size() / sizeof(float));
  std::memcpy(golden.expected.data(), numbers.data(), numbers.size());
  golden.tensor = make_tensor(type, {static_cast<int64_t>(golden.expected.size())}, blocks);
  return golden;
}

std::vector<StoredType> block_types() {
  std::vector<StoredType> types;
  for (const StoredType& type : all_stored_types()) {
    if (type.decode != nullptr && !type.dtype) types.push_back(type);
  }
  return types;
}

TEST(StoredTypes, BlockTypesDecodeAsTheGgufPackageBitForBit) {
  ASSERT_EQ(block_types().size(), 10u);
  for (const StoredType& type : block_types()) {
    const Golden golden = load_golden(type);
    ASSERT_GT(golden.expected.size(), 0u) << type.name;
    ASSERT_EQ(golden.tensor.elements() / type.block_elements * type.block_bytes,
              static_cast<int64_t>(golden.tensor.bytes.size()));
    std::vector<float> decoded(golden.expected.size());
    golden.tensor.decode(0, golden.tensor.elements(), decoded.data());
    EXPECT_EQ(std::memcmp(decoded.data(), golden.expected.data(), decoded.size() * sizeof(float)),
              0)
        << type.name;
  }
}

TEST(StoredTypes, EveryInstructionSetDecodesTheSameBits) {
  for (const Isa isa : all_isas()) {
    if (!cpu_has(isa)) continue;
    const ggml::BlockDecoders& decoders = ggml::block_decoders(isa);
    const std::vector<std::pair<int32_t, decltype(decoders.q4_0)>> rows = {
        {2, decoders.q4_0}, {3, decoders.q4_1}, {8, decoders.q8_0}};
    for (const auto& [ggml_id, decode] : rows) {
      const StoredType& type = *find_ggml_type(ggml_id);
      const Golden golden = load_golden(type);
      std::vector<float> decoded(golden.expected.size());
      decode(golden.tensor.bytes.data(), golden.tensor.elements() / 32, decoded.data());
      EXPECT_EQ(std::memcmp(decoded.data(), golden.expected.data(), decoded.size() * sizeof(float)),
                0)
          << type.name << " " << isa_name(isa);
    }
  }
}

TEST(StoredTypes, AnyRangeOfBlocksDecodesAsThePartOfTheWhole) {
  for (const StoredType& type : block_types()) {
    const Golden golden = load_golden(type);
    const int64_t step = type.block_elements;
    for (int64_t begin = 0; begin < golden.tensor.elements(); begin += step) {
      std::vector<float> part(static_cast<size_t>(step), -1.0f);
      golden.tensor.decode(begin, step, part.data());
      for (int64_t i = 0; i < step; ++i) {
        ASSERT_EQ(part[static_cast<size_t>(i)], golden.expected[static_cast<size_t>(begin + i)]);
      }
    }
  }
}

TEST(StoredTypes, NamesAndNumbersAreUniqueAndSizesPlausible) {
  std::set<std::string_view> names;
  std::set<int32_t> ids;
  for (const StoredType& type : all_stored_types()) {
    EXPECT_TRUE(names.insert(type.name).second) << type.name;
    if (type.ggml_id >= 0) {
      EXPECT_TRUE(ids.insert(type.ggml_id).second) << type.name;
      EXPECT_EQ(find_ggml_type(type.ggml_id), &type);
    }
    EXPECT_GT(type.block_elements, 0);
    EXPECT_GT(type.block_bytes, 0);
    if (type.dtype) {
      EXPECT_EQ(type.block_elements, 1);
      EXPECT_EQ(static_cast<size_t>(type.block_bytes), dtype_info(*type.dtype).bytes);
      EXPECT_EQ(type.name, dtype_info(*type.dtype).name);
      EXPECT_EQ(&stored_type_of(*type.dtype), &type);
      EXPECT_EQ(type.decode != nullptr, dtype_info(*type.dtype).is_float16_or_32);
    }
  }
  EXPECT_EQ(find_ggml_type(-1), nullptr);
  EXPECT_EQ(find_ggml_type(12345), nullptr);
}

TEST(StoredTypes, TypesWithoutDecoderAreNamedWithTheSupportedOnes) {
  for (const StoredType& type : all_stored_types()) {
    if (type.decode != nullptr) continue;
    const StoredTensor tensor = make_tensor(
        type, {1, type.block_elements}, std::string(static_cast<size_t>(type.block_bytes), '\0'));
    std::vector<float> out(static_cast<size_t>(type.block_elements));
    for (const std::string& part :
         {std::string("test.gguf: tensor blk.0.weight: "), std::string("Q4_K, Q5_K, Q6_K"),
          "found " + std::string(type.name)}) {
      expect_error(ErrorCode::kUnsupported, part,
                   [&] { tensor.decode(0, type.block_elements, out.data()); });
      expect_error(ErrorCode::kUnsupported, part, [&] { make_row_source(tensor); });
    }
  }
}

TEST(StoredTypes, DenseTypesDecodeFromUnalignedBytes) {
  const std::vector<float> values = {0.0f, -1.5f, 3.25f, 0x1p-20f, -65504.0f};
  for (const StoredType& type : all_stored_types()) {
    if (!type.dtype || type.decode == nullptr) continue;
    std::string bytes(1, 'x');  // puts the numbers on odd addresses
    for (const float value : values) {
      char buffer[4];
      const Float16 half = to_float16(value);
      const BFloat16 brain = to_bfloat16(value);
      if (*type.dtype == DType::kF32) std::memcpy(buffer, &value, 4);
      if (*type.dtype == DType::kF16) std::memcpy(buffer, &half, 2);
      if (*type.dtype == DType::kBF16) std::memcpy(buffer, &brain, 2);
      bytes.append(buffer, static_cast<size_t>(type.block_bytes));
    }
    StoredTensor tensor = make_tensor(type, {5}, bytes);
    tensor.bytes = tensor.bytes.subspan(1);
    std::vector<float> decoded(5);
    tensor.decode(0, 5, decoded.data());
    for (size_t i = 0; i < 5; ++i) {
      float expected = values[i];
      if (*type.dtype == DType::kF16) expected = to_float(to_float16(expected));
      if (*type.dtype == DType::kBF16) expected = to_float(to_bfloat16(expected));
      EXPECT_EQ(decoded[i], expected) << type.name << " " << i;
    }
  }
}

TEST(StoredTypes, RowsMustBeWholeBlocks) {
  const StoredType& type = *find_ggml_type(2);
  EXPECT_EQ(stored_bytes(type, {3, 64}, "x"), 3 * 2 * 18);
  expect_error(ErrorCode::kCorruptFile, "x: rows of Q4_0 expected in blocks of 32", [&] {
    stored_bytes(type, {32, 3}, "x");
  });
  expect_error(ErrorCode::kCorruptFile, "x: ", [&] {
    stored_bytes(type, {int64_t{1} << 40, int64_t{1} << 40}, "x");
  });
}

// Row sources. The reference decodes the whole tensor and indexes it.

struct Stored {
  StoredTensor tensor;          // [rows, cols]
  std::vector<float> expected;  // [rows, cols]
};

/// A matrix of rows x cols of `type`: numbers for dense types, repeated golden blocks otherwise.
Stored random_matrix(const StoredType& type, int64_t rows, int64_t cols) {
  Rng rng(7, type.name);
  std::string bytes;
  if (type.dtype) {
    for (int64_t i = 0; i < rows * cols; ++i) {
      const auto value = static_cast<float>(rng.normal());
      const uint16_t half = to_float16(value).bits;  // as bfloat16 also a finite number
      bytes.append(type.block_bytes == 4 ? reinterpret_cast<const char*>(&value)
                                         : reinterpret_cast<const char*>(&half),
                   static_cast<size_t>(type.block_bytes));
    }
  } else {
    const std::string blocks =
        testing::read_file(testing::test_data("gguf-blocks/" + std::string(type.name) + ".blocks"));
    const auto block = static_cast<size_t>(type.block_bytes);
    for (int64_t i = 0; i < rows * cols / type.block_elements; ++i) {
      bytes += blocks.substr(rng.below(blocks.size() / block) * block, block);
    }
  }
  Stored stored{make_tensor(type, {rows, cols}, bytes), {}};
  stored.expected.resize(static_cast<size_t>(rows * cols));
  stored.tensor.decode(0, rows * cols, stored.expected.data());
  return stored;
}

/// Checks every row alone, all at once, and a middle part with a stride, against `expected(r, c)`.
template <class Expected>
void expect_rows(const RowSource& source, const Expected& expected) {
  struct Part {
    int64_t begin, count, gap;
  };
  const int64_t rows = source.rows(), cols = source.cols();
  std::vector<Part> parts = {{0, rows, 0}, {rows / 3, rows - rows / 3, 5}, {rows, 0, 0}};
  for (int64_t r = 0; r < rows; ++r) parts.push_back({r, 1, 0});
  for (const Part& part : parts) {
    const int64_t stride = cols + part.gap;
    std::vector<float> out(static_cast<size_t>(part.count * stride), -7.0f);
    source.decode_rows(part.begin, part.count, out.data(), stride);
    for (int64_t r = 0; r < part.count; ++r) {
      for (int64_t c = 0; c < stride; ++c) {
        const float wanted = c < cols ? expected(part.begin + r, c) : -7.0f;
        ASSERT_EQ(out[static_cast<size_t>(r * stride + c)], wanted)
            << "row " << part.begin + r << " column " << c;
      }
    }
  }
}

std::vector<StoredType> decodable_types() {
  std::vector<StoredType> types;
  for (const StoredType& type : all_stored_types()) {
    if (type.decode != nullptr) types.push_back(type);
  }
  return types;
}

TEST(RowSources, GiveRowsOfEveryTypeAndOfFusedTensors) {
  for (const StoredType& type : decodable_types()) {
    const int64_t rows = 11, cols = type.dtype ? 37 : 2 * type.block_elements;
    const Stored stored = random_matrix(type, rows, cols);
    for (const auto& [begin, count] :
         std::vector<std::pair<int64_t, int64_t>>{{0, -1}, {0, 4}, {4, 7}, {3, -1}}) {
      const auto source = make_row_source(stored.tensor, {.row_begin = begin, .row_count = count});
      ASSERT_EQ(source->rows(), count < 0 ? rows - begin : count);
      ASSERT_EQ(source->cols(), cols);
      expect_rows(*source, [&, first = begin](int64_t r, int64_t c) {
        return stored.expected[static_cast<size_t>((first + r) * cols + c)];
      });
    }
  }
}

TEST(RowSources, GiveColumnsOfTransposedTensors) {
  for (const StoredType& type : decodable_types()) {
    const int64_t inputs = 19;
    const int64_t outputs = type.dtype ? 301 : 2 * type.block_elements;
    const Stored stored = random_matrix(type, inputs, outputs);
    for (const auto& [begin, count] :
         std::vector<std::pair<int64_t, int64_t>>{{0, -1}, {5, 40}, {outputs - 3, 3}}) {
      const auto source = make_row_source(
          stored.tensor, {.transposed = true, .row_begin = begin, .row_count = count});
      ASSERT_EQ(source->rows(), count < 0 ? outputs : count);
      ASSERT_EQ(source->cols(), inputs);
      expect_rows(*source, [&, first = begin](int64_t r, int64_t c) {
        return stored.expected[static_cast<size_t>(c * outputs + first + r)];
      });
    }
  }
}

TEST(RowSources, UndoTheRopePermutation) {
  // What the conversion to GGUF does: w.reshape(heads, 2, head_dim / 2, cols).swapaxes(1, 2).
  const int64_t heads = 3, head_dim = 8, cols = 5, extra = 4;
  const Stored stored = random_matrix(stored_type_of(DType::kF32), heads * head_dim + extra, cols);
  const auto source = make_row_source(
      stored.tensor,
      {.row_begin = extra, .row_count = heads * head_dim, .rope_permuted_heads = heads});
  std::vector<int64_t> stored_row(static_cast<size_t>(heads * head_dim));
  int64_t next = extra;
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t i = 0; i < head_dim / 2; ++i) {
      for (int64_t p = 0; p < 2; ++p) {
        stored_row[static_cast<size_t>(h * head_dim + p * head_dim / 2 + i)] = next++;
      }
    }
  }
  expect_rows(*source, [&](int64_t r, int64_t c) {
    return stored.expected[static_cast<size_t>(stored_row[static_cast<size_t>(r)] * cols + c)];
  });
}

TEST(RowSources, DenseRowsCanBeReadInPlace) {
  for (const StoredType& type : decodable_types()) {
    const Stored stored = random_matrix(type, 12, 2 * type.block_elements);
    const auto source = make_row_source(stored.tensor, {.row_begin = 4, .row_count = 8});
    ASSERT_EQ(source->dense() != nullptr, type.dtype.has_value()) << type.name;
    EXPECT_EQ(make_row_source(stored.tensor, {.transposed = true})->dense(), nullptr);
    EXPECT_EQ(make_row_source(stored.tensor, {.rope_permuted_heads = 2})->dense(), nullptr);
    if (!type.dtype) continue;
    EXPECT_EQ(source->dense()->dtype, *type.dtype);
    EXPECT_EQ(source->dense()->stride, 2);
    EXPECT_EQ(source->dense()->data, stored.tensor.bytes.data() + 4 * 2 * type.block_bytes);
    StoredTensor unaligned = stored.tensor;
    unaligned.shape = {11, 2};
    unaligned.bytes = unaligned.bytes.subspan(1, static_cast<size_t>(22 * type.block_bytes));
    EXPECT_EQ(make_row_source(unaligned)->dense(), nullptr) << type.name;
  }
}

TEST(RowSources, RefuseWrongShapes) {
  const Stored stored = random_matrix(stored_type_of(DType::kF32), 6, 4);
  const auto refused = [&](const WeightView& view) {
    expect_error(ErrorCode::kCorruptFile, "test.gguf: tensor blk.0.weight: expected",
                 [&] { make_row_source(stored.tensor, view); });
  };
  refused({.row_begin = 3, .row_count = 4});
  refused({.row_begin = 7});
  refused({.row_begin = -1, .row_count = 2});
  refused({.transposed = true, .row_count = 5});
  refused({.row_begin = 1, .row_count = INT64_MAX});
  refused({.rope_permuted_heads = 4});
  refused({.rope_permuted_heads = 2});  // head_dim 3 is odd
  StoredTensor vector = stored.tensor;
  vector.shape = {24};
  expect_error(ErrorCode::kCorruptFile, "expected a matrix, found shape [24]",
               [&] { make_row_source(vector); });
}

}  // namespace
}  // namespace twofold
