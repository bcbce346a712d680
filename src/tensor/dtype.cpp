#include "tensor/dtype.h"

#include <array>

#include "base/error.h"

namespace twofold {
namespace {

constexpr std::array kDTypes = {
    DTypeInfo{DType::kF32, "F32", 4, true},   DTypeInfo{DType::kF16, "F16", 2, true},
    DTypeInfo{DType::kBF16, "BF16", 2, true}, DTypeInfo{DType::kF64, "F64", 8, false},
    DTypeInfo{DType::kI64, "I64", 8, false},  DTypeInfo{DType::kI32, "I32", 4, false},
    DTypeInfo{DType::kI16, "I16", 2, false},  DTypeInfo{DType::kI8, "I8", 1, false},
    DTypeInfo{DType::kU8, "U8", 1, false},    DTypeInfo{DType::kBool, "BOOL", 1, false}};

}  // namespace

std::span<const DTypeInfo> all_dtypes() { return kDTypes; }

const DTypeInfo& dtype_info(DType dtype) {
  for (const DTypeInfo& info : kDTypes) {
    if (info.dtype == dtype) return info;
  }
  fail(ErrorCode::kInternal, "dtype", "not in the table");
}

std::optional<DType> parse_dtype(std::string_view safetensors_name) {
  for (const DTypeInfo& info : kDTypes) {
    if (info.name == safetensors_name) return info.dtype;
  }
  return std::nullopt;
}

}  // namespace twofold
