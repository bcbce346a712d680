#include "quant/planes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/float16.h"

namespace twofold {
namespace {

constexpr size_t kMostLevels = 16;
using Levels = std::array<int, kMostLevels>;

/// The levels of planes n_0 >= n_1 >= ...: level[code] is the sum of n_i with the signs of the
/// code's bits. Nothing if `sorted` is no such set. The two least sums differ by twice the least
/// integer; with it every remaining sum pairs with one that is larger by as much.
/// @param sorted [2^bits] increasing.
std::optional<Levels> plane_levels(const Levels& sorted, int bits) {
  std::vector<int> sums(sorted.begin(), sorted.begin() + (1 << bits));
  std::array<int, 4> n = {};
  for (int p = bits - 1; p >= 0; --p) {
    const int twice = sums[1] - sums[0];
    if (twice % 2 != 0) return std::nullopt;
    n[static_cast<size_t>(p)] = twice / 2;
    std::vector<int> rest;
    while (!sums.empty()) {
      const int least = sums.front();
      sums.erase(sums.begin());
      const auto partner = std::find(sums.begin(), sums.end(), least + twice);
      if (partner == sums.end()) return std::nullopt;
      sums.erase(partner);
      rest.push_back(least + twice / 2);
    }
    sums = std::move(rest);
  }
  if (sums.front() != 0) return std::nullopt;
  Levels levels = {};
  for (int code = 0; code < 1 << bits; ++code) {
    for (int p = 0; p < bits; ++p) {
      const int step = n[static_cast<size_t>(p)];
      levels[static_cast<size_t>(code)] += (code >> p & 1) != 0 ? step : -step;
    }
  }
  return levels;
}

/// Puts the levels of table `table` in the order `to` and moves the codes that read it.
void reorder(QuantizedMatrix& q, int64_t table, const Levels& to) {
  const int count = 1 << q.scheme.bits;
  float* levels = q.levels.data() + table * count;
  std::array<uint16_t, kMostLevels> code_for = {};
  for (int code = 0; code < count; ++code) {
    const auto at = std::find(to.begin(), to.begin() + count, static_cast<int>(levels[code]));
    code_for[static_cast<size_t>(code)] = static_cast<uint16_t>(at - to.begin());
  }
  for (int code = 0; code < count; ++code) {
    levels[code] = static_cast<float>(to[static_cast<size_t>(code)]);
  }
  const int64_t groups = q.groups(), width = q.scheme.group > 0 ? q.scheme.group : q.cols;
  const int64_t row = table / groups, begin = table % groups * width;
  uint16_t* codes = q.codes.data() + row * q.cols;
  for (int64_t c = begin; c < std::min(q.cols, begin + width); ++c) codes[c] = code_for[codes[c]];
}

Levels sorted_levels(const QuantizedMatrix& q, int64_t table) {
  Levels sorted = {};
  const int count = 1 << q.scheme.bits;
  for (int i = 0; i < count; ++i) {
    sorted[static_cast<size_t>(i)] =
        static_cast<int>(q.levels[static_cast<size_t>(table * count + i)]);
  }
  std::sort(sorted.begin(), sorted.begin() + count);
  return sorted;
}

}  // namespace

QuantizedMatrix planes_to_table(const QuantizedMatrix& q) {
  if (!q.scheme.planes) fail(ErrorCode::kInvalidArgument, "planes", "the matrix has none");
  QuantizedMatrix out = q;
  out.scheme.planes = false;
  for (int64_t table = 0; table < q.parameter_sets(q.scheme.table_sharing); ++table) {
    reorder(out, table, sorted_levels(q, table));
  }
  return out;
}

QuantizedMatrix table_to_planes(const QuantizedMatrix& q) {
  const Scheme& scheme = q.scheme;
  if (scheme.kind != ValueKind::kTable || scheme.table_sharing == Sharing::kMatrix ||
      scheme.level_type != LevelType::kInt8 || scheme.bits > 4 || !scheme.has_offset) {
    fail(ErrorCode::kInvalidArgument, "planes",
         "expected int8 tables per row or group of at most 4 bits with offsets");
  }
  QuantizedMatrix out = q;
  out.scheme.planes = true;
  for (int64_t table = 0; table < q.parameter_sets(scheme.table_sharing); ++table) {
    const std::optional<Levels> levels = plane_levels(sorted_levels(q, table), scheme.bits);
    if (!levels) {
      fail(ErrorCode::kInvalidArgument, "planes", "table {} is no binary coding", table);
    }
    reorder(out, table, *levels);
  }
  return out;
}

Scheme uniform_planes_scheme(const Scheme& uniform) {
  return {.kind = ValueKind::kTable,
          .bits = uniform.bits,
          .scale_sharing = uniform.scale_sharing,
          .group = uniform.group,
          .table_sharing = uniform.scale_sharing,
          .level_type = LevelType::kInt8,
          .level_exponent = -1,
          .has_offset = true,
          .planes = true};
}

float uniform_planes_offset(float scale, float zero, int bits) {
  const float middle = static_cast<float>((1 << bits) - 1) / 2;
  return round_to_float16(scale * (middle - zero));
}

QuantizedMatrix uniform_to_planes(const QuantizedMatrix& q) {
  const Scheme& scheme = q.scheme;
  if (scheme.kind != ValueKind::kAffine || scheme.scale_sharing == Sharing::kMatrix ||
      scheme.bits > 4) {
    fail(ErrorCode::kInvalidArgument, "planes",
         "expected equally spaced values of at most 4 bits with scales per row or group");
  }
  QuantizedMatrix out = q;
  out.scheme = uniform_planes_scheme(scheme);
  out.zero.clear();
  out.levels.clear();
  const int top = (1 << scheme.bits) - 1;
  for (size_t set = 0; set < q.scale.size(); ++set) {
    const float zero =
        zero_is_stored(scheme.zero) ? q.zero[set] : fixed_zero(scheme.zero, scheme.bits);
    const float offset = uniform_planes_offset(q.scale[set], zero, scheme.bits);
    if (!std::isfinite(offset)) {
      fail(ErrorCode::kUnsupported, "planes", "parameter set {}: its offset is beyond binary16",
           set);
    }
    out.offset.push_back(offset);
    for (int code = 0; code <= top; ++code) {
      out.levels.push_back(static_cast<float>(2 * code - top));
    }
  }
  return out;
}

}  // namespace twofold
