// Files of format version 1 stay readable: the golden blobs still open, mean the numbers that they
// meant when they were written, and are what packing these numbers gives.
#include "formats/golden.h"

#include <gtest/gtest.h>

#include <cstring>

#include "io/safetensors.h"

namespace twofold {
namespace {

std::map<std::string, Tensor> read_golden_blobs() {
  std::map<std::string, Tensor> blobs;
  for (const StoredTensor& tensor : read_safetensors(testing::golden_blobs()).tensors) {
    blobs[tensor.name] = {{DType::kU8, tensor.shape, tensor.bytes}, tensor.owner};
  }
  return blobs;
}

TEST(GoldenFormats, DecodeBitForBit) {
  const auto blobs = read_golden_blobs();
  const auto hashes = testing::read_golden_hashes();
  ASSERT_EQ(blobs.size(), hashes.size());
  for (const auto& [name, expected] : hashes) {
    ASSERT_TRUE(blobs.contains(name)) << name;
    const PackedMatrix packed = open_packed(parse_format(name), testing::kGoldenRows,
                                            testing::kGoldenCols, blobs.at(name), name);
    EXPECT_TRUE(testing::hashes_of(packed, false) == expected) << name;
    EXPECT_TRUE(testing::hashes_of(packed, true) == expected) << name;
  }
}

TEST(GoldenFormats, PackToTheSameBytes) {
  for (const auto& [name, blob] : read_golden_blobs()) {
    const Format format = parse_format(name);
    const PackedMatrix packed =
        open_packed(format, testing::kGoldenRows, testing::kGoldenCols, blob, name);
    PackedMatrix again;
    if (format.is_dense()) {
      std::vector<float> values(testing::kGoldenRows * testing::kGoldenCols);
      make_row_source(packed)->decode_rows(0, packed.rows, values.data(), packed.cols);
      again = pack_dense(format, {values.data(), packed.rows, packed.cols});
    } else {
      again = pack(unpack(packed));
    }
    EXPECT_EQ(again.format.name, name);
    const std::span<const std::byte> expected = blob.view.bytes, found = again.bytes.view.bytes;
    ASSERT_EQ(found.size(), expected.size()) << name;
    EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size()), 0) << name;
  }
}

TEST(GoldenFormats, HoldEveryExampleName) {
  const auto hashes = testing::read_golden_hashes();
  for (const std::string& name : testing::example_format_names()) {
    EXPECT_TRUE(hashes.contains(name)) << name << ": run the target add_golden_formats";
  }
}

}  // namespace
}  // namespace twofold
