// Overflow-checked arithmetic for every number that comes from a file. On overflow these throw
// Error(kCorruptFile) naming `where`.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/error.h"

namespace twofold {

template <std::integral T>
T checked_add(T a, T b, std::string_view where) {
  T result;
  if (__builtin_add_overflow(a, b, &result)) {
    fail(ErrorCode::kCorruptFile, where, "{} + {} does not fit the address space", a, b);
  }
  return result;
}

template <std::integral T>
T checked_mul(T a, T b, std::string_view where) {
  T result;
  if (__builtin_mul_overflow(a, b, &result)) {
    fail(ErrorCode::kCorruptFile, where, "{} x {} does not fit the address space", a, b);
  }
  return result;
}

/// Converts between integer types; throws if the value does not fit.
template <std::integral To, std::integral From>
To checked_cast(From value, std::string_view where) {
  if (!std::in_range<To>(value)) {
    fail(ErrorCode::kCorruptFile, where, "{} is out of range", value);
  }
  return static_cast<To>(value);
}

/// Smallest multiple of `step` not below `value`; both non-negative, step positive. No file data.
constexpr int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }
constexpr int64_t round_down(int64_t value, int64_t step) { return value / step * step; }
constexpr int64_t ceil_div(int64_t value, int64_t step) { return (value + step - 1) / step; }

}  // namespace twofold
