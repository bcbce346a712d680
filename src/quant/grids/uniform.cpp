// Equally spaced values: scale (code - zero). Min-max and symmetric as in GPTQ (Frantar et al.,
// arXiv:2210.17323, Sec. 5), centered as QuIP's grid (arXiv:2307.13304), a floating zero as HQQ,
// and the integer range LO,HI that the PoT paper (arXiv:2506.00315, Sec. 4.2) starts from.
#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>

#include "base/error.h"
#include "base/float16.h"
#include "quant/grids/common.h"
#include "quant/grids/members.h"
#include "quant/round_half_even.h"
#include "quant/row_chunks.h"

namespace twofold {
namespace {

struct Options {
  int bits = 4;
  Sharing sharing = Sharing::kRow;
  int64_t group = 0;
  ZeroKind zero = ZeroKind::kUnsigned;
  bool has_range = false;
  int64_t lo = 0, hi = 0;  // with has_range
  float eps = 0;
};

struct Extent {
  float lo = 0, hi = 0;
};

Extent extent_of(std::span<const float> row) {
  const auto [lo, hi] = std::minmax_element(row.begin(), row.end());
  return {*lo, *hi};
}

class UniformGrid final : public ParameterGrid {
 public:
  UniformGrid(const Options& options, int64_t rows, int64_t cols, std::string where)
      : ParameterGrid({.kind = ValueKind::kAffine,
                       .bits = options.bits,
                       .scale_sharing = options.sharing,
                       .group = options.group,
                       .zero = options.zero},
                      rows, cols, std::move(where)),
        options_(options) {
    if (!zero_is_stored(options.zero)) fixed_zero_ = fixed_zero(options.zero, options.bits);
    const int64_t center = int64_t{1} << (options.bits - 1);
    code_lo_ = options.has_range ? static_cast<float>(options.lo + center) : 0.0f;
    code_hi_ = static_cast<float>(options.has_range ? options.hi + center : 2 * center - 1);
  }

  std::span<const float> explore_factors() const override {
    static constexpr std::array<float, 7> kShrink = {0.4f, 0.5f, 0.6f, 0.7f, 0.8f, 0.9f, 1.0f};
    return kShrink;
  }

  std::unique_ptr<FittedGrid> rescaled(float factor) const override {
    auto copy = std::make_unique<UniformGrid>(*this);
    copy->multiply_scales(factor);
    return copy;
  }

  void fit(int64_t col_begin, Matrix<const float> weight, std::span<const float> /*importance*/,
           ThreadPool& pool) override {
    std::vector<Extent> extents(static_cast<size_t>(weight.rows));
    for_row_chunks(pool, weight.rows, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        extents[static_cast<size_t>(r)] = extent_of(weight.row(r));
      }
    });
    if (options_.sharing == Sharing::kMatrix) {
      Extent all = extents[0];
      for (const Extent& e : extents) all = {std::min(all.lo, e.lo), std::max(all.hi, e.hi)};
      extents.assign(1, all);
    }
    for (size_t r = 0; r < extents.size(); ++r) {
      const int64_t row = static_cast<int64_t>(r);
      set_parameters(set_of(row, col_begin), row, extents[r]);
    }
  }

  void round(int64_t col, int64_t row_begin, Matrix<const float> target, Matrix<uint16_t> codes,
             Matrix<float> value) const override {
    const bool stored = zero_is_stored(options_.zero);
    const bool whole =
        options_.zero == ZeroKind::kUnsigned || options_.zero == ZeroKind::kSymmetric;
    for (int64_t r = 0; r < target.rows; ++r) {
      const size_t set = set_of(row_begin + r, col);
      const float scale = q_.scale[set];
      const float zero = stored ? q_.zero[set] : fixed_zero_;
      // A whole zero is added after rounding, as published; ties would differ otherwise.
      const float before = whole ? 0 : zero;
      const float after = whole ? zero : 0;
      const float rest = std::clamp(round_half_even(zero), code_lo_, code_hi_);
      for (int64_t c = 0; c < target.cols; ++c) {
        const float steps = round_half_even(target.at(r, c) / scale + before) + after;
        const float code = scale != 0 ? std::clamp(steps, code_lo_, code_hi_) : rest;
        codes.at(r, c) = static_cast<uint16_t>(code);
        value.at(r, c) = scale * (code - zero);
      }
    }
  }

 private:
  void set_parameters(size_t i, int64_t row, Extent extent) {
    const float steps = static_cast<float>((1 << options_.bits) - 1);
    const float magnitude = std::max(std::fabs(extent.lo), std::fabs(extent.hi));
    const auto store = [&](float scale) { return store_scale(std::max(scale, options_.eps), row); };
    if (options_.has_range) {
      q_.scale[i] = store(magnitude / (static_cast<float>(options_.hi - options_.lo) / 2));
      return;
    }
    switch (options_.zero) {
      case ZeroKind::kSymmetric:
      case ZeroKind::kCentered:
        q_.scale[i] = store(magnitude / (steps / 2));
        return;
      case ZeroKind::kFloat: {
        const float scale = store((extent.hi - extent.lo) / steps);
        // Up to 2048 a binary16 zero is right to half a step.
        if (scale != 0 && std::fabs(extent.lo / scale) <= 2048) {
          q_.scale[i] = scale;
          q_.zero[i] = round_to_float16(-extent.lo / scale);
          return;
        }
        [[fallthrough]];
      }
      case ZeroKind::kUnsigned: {
        const float lo = std::min(0.0f, extent.lo), hi = std::max(0.0f, extent.hi);
        const float scale = store((hi - lo) / steps);
        q_.scale[i] = scale;
        q_.zero[i] = scale != 0 ? std::clamp(round_half_even(-lo / scale), 0.0f, steps) : 0;
        return;
      }
    }
  }

  Options options_;
  float fixed_zero_ = 0, code_lo_ = 0, code_hi_ = 0;
};

ZeroKind zero_kind(const Params& params) {
  const std::string name = params.get_choice("zero");
  if (name == "symmetric") return ZeroKind::kSymmetric;
  if (name == "centered") return ZeroKind::kCentered;
  if (name == "float") return ZeroKind::kFloat;
  return ZeroKind::kUnsigned;
}

Options options_of(const GridRequest& request) {
  Options options{.bits = request.bits,
                  .sharing = scale_sharing(request),
                  .group = request.group,
                  .zero = zero_kind(request.params),
                  .has_range = request.params.has("range"),
                  .eps = static_cast<float>(request.params.get_float("eps"))};
  if (options.has_range) {
    if (options.zero == ZeroKind::kCentered || options.zero == ZeroKind::kFloat) {
      fail(ErrorCode::kInvalidArgument, "--range", "goes with --zero symmetric, found --zero {}",
           request.params.get_choice("zero"));
    }
    options.zero = ZeroKind::kSymmetric;
    std::tie(options.lo, options.hi) = request.params.get_range("range");
  }
  return options;
}

/// The least b with LO >= -2^(b-1) and HI < 2^(b-1).
int needed_bits(const Params& params) {
  if (!params.has("range")) return 0;
  const auto [lo, hi] = params.get_range("range");
  if (lo > 0 || hi < 0 || lo < -128 || hi > 127) {
    fail(ErrorCode::kInvalidArgument, "--range",
         "expected LO,HI around 0 within -128,127 for grid uniform, found {},{}", lo, hi);
  }
  int bits = 2;
  while (lo < -(int64_t{1} << (bits - 1)) || hi >= (int64_t{1} << (bits - 1))) ++bits;
  return bits;
}

void check(const GridRequest& request) {
  check_bits(uniform_grid(), request);
  options_of(request);
}

std::unique_ptr<FittedGrid> make(const GridRequest& request) {
  check(request);
  return std::make_unique<UniformGrid>(options_of(request), request.rows, request.cols,
                                       request.where);
}

}  // namespace

const Grid& uniform_grid() {
  static const Grid kGrid = {
      .name = "uniform",
      .paper = "arXiv:2210.17323",
      .help = "equally spaced values",
      .params = {{.name = "zero",
                  .kind = ParamKind::kChoice,
                  .fallback = "integer",
                  .help = "integer: between least and largest weight; symmetric: fixed at "
                          "2^(bits-1); centered: fixed at (2^bits-1)/2, no zero value; float: "
                          "stored in binary16",
                  .choices = {"integer", "symmetric", "centered", "float"}},
                 scale_per_param(),
                 range_param(),
                 eps_param()},
      .min_bits = 2,
      .max_bits = 8,
      .groups = true,
      .needed_bits = needed_bits,
      .check = check,
      .make = make};
  return kGrid;
}

}  // namespace twofold
