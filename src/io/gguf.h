// GGUF v2 and v3 (little-endian), one file or split files: metadata and tensors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "io/stored_tensor.h"

namespace twofold {

/// A metadata value: numbers are widened to the largest of their kind.
using GgufValue = std::variant<uint64_t, int64_t, double, bool, std::string, std::vector<uint64_t>,
                               std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;

struct GgufFile {
  std::string path;
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<StoredTensor> tensors;  // shapes turned to row-major (slowest first)

  bool has(std::string_view key) const;
  /// Typed access; integers convert between signs when they fit. @throws Error(kCorruptFile) naming
  /// the key, the expected type and what was found; the forms with a fallback only on a wrong type.
  int64_t get_int(std::string_view key) const;
  int64_t get_int(std::string_view key, int64_t fallback) const;
  double get_float(std::string_view key) const;
  double get_float(std::string_view key, double fallback) const;
  bool get_bool(std::string_view key, bool fallback) const;
  std::string get_string(std::string_view key) const;
  std::string get_string(std::string_view key, std::string_view fallback) const;
  /// Null if absent.
  const std::vector<std::string>* get_strings(std::string_view key) const;
  std::vector<double> get_floats(std::string_view key) const;  // empty if absent
  std::vector<int64_t> get_ints(std::string_view key) const;   // empty if absent
};

/// True if the file starts with the GGUF magic.
bool looks_like_gguf(const std::filesystem::path& path);

/// Reads one file, or all parts when the name ends in -00001-of-0000N.gguf.
/// @throws Error(kCorruptFile | kUnsupported | kIo) with file, field, expected, found.
GgufFile read_gguf(const std::filesystem::path& path);

}  // namespace twofold
