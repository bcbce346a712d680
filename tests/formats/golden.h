// The golden file of format version 1: a blob of every example name of every format family, with
// hashes of blob and values in a text beside it. What is in it stays as it is: the files that users
// have are built the same way.
#pragma once

#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "formats/format.h"
#include "support/paths.h"

namespace twofold::testing {

/// Two blocks of rows, the second with one; with groups of 32 the last has 5 columns.
inline constexpr int64_t kGoldenRows = 17, kGoldenCols = 37;

inline std::filesystem::path golden_blobs() { return test_data("formats/v1.safetensors"); }
/// Lines of name, SHA-256 of the blob, SHA-256 of the values in float32, little-endian.
inline std::filesystem::path golden_hashes() { return test_data("formats/v1.txt"); }

struct GoldenHashes {
  std::string blob, values;
  friend bool operator==(const GoldenHashes&, const GoldenHashes&) = default;
};

inline std::map<std::string, GoldenHashes> read_golden_hashes() {
  std::map<std::string, GoldenHashes> hashes;
  std::istringstream lines(read_file(golden_hashes()));
  std::string name;
  for (GoldenHashes h; lines >> name >> h.blob >> h.values;) hashes[name] = h;
  return hashes;
}

/// Names of the registry, in its order.
inline std::vector<std::string> example_format_names() {
  std::vector<std::string> names;
  for (const FormatFamily& family : all_format_families()) {
    for (std::string& name : family.example_names()) names.push_back(std::move(name));
  }
  return names;
}

/// @param fast true: all rows at once; false: row by row.
inline GoldenHashes hashes_of(const PackedMatrix& packed, bool fast) {
  std::vector<float> values(static_cast<size_t>(packed.rows * packed.cols));
  const FormatFamily& family = *packed.format.family;
  if (fast) {
    family.decode_rows(packed, 0, packed.rows, values.data(), packed.cols);
  } else {
    for (int64_t r = 0; r < packed.rows; ++r) {
      family.decode_row(packed, r, values.data() + r * packed.cols);
    }
  }
  return {sha256_hex(packed.bytes.view.bytes), sha256_hex(std::as_bytes(std::span(values)))};
}

}  // namespace twofold::testing
