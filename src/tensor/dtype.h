// DType: element types of dense tensors, with the names safetensors gives them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace twofold {

enum class DType { kF32, kF16, kBF16, kF64, kI64, kI32, kI16, kI8, kU8, kBool };

struct DTypeInfo {
  DType dtype;
  std::string_view name;  // as in safetensors: "F32"
  size_t bytes;           // per element
  bool is_float16_or_32;  // F32, F16, BF16: what weights may be
};

std::span<const DTypeInfo> all_dtypes();
const DTypeInfo& dtype_info(DType dtype);
std::optional<DType> parse_dtype(std::string_view safetensors_name);

}  // namespace twofold
