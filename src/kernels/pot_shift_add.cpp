#include "kernels/pot_shift_add.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace twofold {
namespace {

/// A level as sign and exponent; sign 0 for level 0.
struct Shift {
  int sign = 0;
  int exponent = 0;
};

std::vector<Shift> shifts_of(const QuantizedMatrix& q) {
  if (q.scheme.kind != ValueKind::kTable || q.scheme.has_offset) {
    fail(ErrorCode::kInvalidArgument, "shift-and-add", "expected a table of levels, no offset");
  }
  std::vector<Shift> shifts;
  for (float level : q.levels) {
    if (level == 0) {
      shifts.push_back({});
      continue;
    }
    const int exponent = std::ilogb(level);
    if (std::fabs(level) != std::ldexp(1.0f, exponent) || exponent < 0 || exponent > 31) {
      fail(ErrorCode::kInvalidArgument, "shift-and-add",
           "level {} is not 0 or a signed power of two from 2^0 to 2^31", level);
    }
    shifts.push_back({level < 0 ? -1 : 1, exponent});
  }
  return shifts;
}

/// Refuses activations with which some row could reach 2^63.
void check_headroom(const std::vector<Shift>& shifts, std::span<const int64_t> fixed) {
  int top = 0;
  for (const Shift& shift : shifts) top = std::max(top, shift.exponent);
  uint64_t sum = 0;
  for (int64_t x : fixed) {
    const uint64_t magnitude = x < 0 ? 0 - static_cast<uint64_t>(x) : static_cast<uint64_t>(x);
    const uint64_t limit = (uint64_t{1} << (63 - top)) - 1;
    if (magnitude > limit - sum) {
      fail(ErrorCode::kInvalidArgument, "shift-and-add",
           "activations times 2^{} overflow 64 bits: use fewer fraction bits", top);
    }
    sum += magnitude;
  }
}

}  // namespace

std::vector<int64_t> to_fixed_point(std::span<const float> x, int fraction_bits) {
  constexpr double kLimit = 0x1p31;
  std::vector<int64_t> fixed;
  fixed.reserve(x.size());
  for (float value : x) {
    const double scaled = std::nearbyint(std::ldexp(static_cast<double>(value), fraction_bits));
    if (std::isnan(scaled)) fail(ErrorCode::kInvalidArgument, "shift-and-add", "x holds a NaN");
    fixed.push_back(static_cast<int64_t>(std::clamp(scaled, -kLimit, kLimit)));
  }
  return fixed;
}

std::vector<int64_t> pot_shift_add(const QuantizedMatrix& q, std::span<const int64_t> fixed) {
  const std::vector<Shift> shifts = shifts_of(q);
  if (static_cast<int64_t>(fixed.size()) != q.cols) {
    fail(ErrorCode::kInvalidArgument, "shift-and-add", "expected {} activations, found {}", q.cols,
         fixed.size());
  }
  check_headroom(shifts, fixed);
  std::vector<int64_t> sums(static_cast<size_t>(q.rows));
  for (int64_t r = 0; r < q.rows; ++r) {
    uint64_t sum = 0;  // modulo 2^64: exact, for no partial sum reaches 2^63
    for (int64_t c = 0; c < q.cols; ++c) {
      const size_t table = static_cast<size_t>(q.parameter_index(q.scheme.table_sharing, r, c));
      const size_t code = q.codes[static_cast<size_t>(r * q.cols + c)];
      const Shift shift = shifts[(table << q.scheme.bits) + code];
      const uint64_t shifted = static_cast<uint64_t>(fixed[static_cast<size_t>(c)])
                               << shift.exponent;
      if (shift.sign > 0) sum += shifted;
      if (shift.sign < 0) sum -= shifted;
    }
    sums[static_cast<size_t>(r)] = static_cast<int64_t>(sum);
  }
  return sums;
}

void pot_matvec(const QuantizedMatrix& q, std::span<const float> x, int fraction_bits,
                std::span<float> y) {
  if (q.scheme.scale_sharing == Sharing::kGroup) {
    fail(ErrorCode::kInvalidArgument, "shift-and-add", "scales per group are not supported");
  }
  if (static_cast<int64_t>(y.size()) != q.rows) {
    fail(ErrorCode::kInvalidArgument, "shift-and-add", "expected {} outputs, found {}", q.rows,
         y.size());
  }
  const std::vector<int64_t> sums = pot_shift_add(q, to_fixed_point(x, fraction_bits));
  for (size_t r = 0; r < sums.size(); ++r) {
    const size_t set =
        static_cast<size_t>(q.parameter_index(q.scheme.scale_sharing, static_cast<int64_t>(r), 0));
    const double scaled = static_cast<double>(sums[r]) * static_cast<double>(q.scale[set]);
    y[r] = static_cast<float>(std::ldexp(scaled, q.scheme.level_exponent - fraction_bits));
  }
}

}  // namespace twofold
