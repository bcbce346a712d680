// Equally spaced values: scale (code - zero). Min-max and symmetric as in GPTQ (Frantar et al.,
// arXiv:2210.17323, Sec. 5), centered and from the root mean square as QuIP's grid
// (arXiv:2307.13304, Algorithm 1, steps 6 and 7), a floating zero fitted as HQQ does, and the
// integer range LO,HI that the PoT paper (arXiv:2506.00315, Sec. 4.2) starts from. The clip search
// is GPTQ's MSE option with the squared error weighted by importance.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <tuple>

#include "base/error.h"
#include "base/float16.h"
#include "quant/grids/common.h"
#include "quant/grids/members.h"
#include "quant/planes.h"
#include "quant/round_half_even.h"
#include "quant/row_chunks.h"
#include "tensor/ops.h"

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
  bool search = false;          // the best of kClips times the range instead of all of it
  double rms_factor = 0;        // > 0: the range is -+ this times the root mean square
  bool half_quadratic = false;  // kFloat: the zero is HQQ's
  bool planes = false;          // stored so
};

/// Fractions of the range tried by the clip search: 1, 0.96, ..., 0.32.
constexpr size_t kClips = 18;
float clip(size_t i) { return static_cast<float>(1 - 0.04 * static_cast<double>(i)); }

/// Up to here a binary16 zero is right to half a step.
constexpr float kLargestZero = 2048;

struct Extent {
  float lo = 0, hi = 0;
  Extent times(float factor) const { return {lo * factor, hi * factor}; }
};

struct Parameters {
  float scale = 0, zero = 0;
};

/// Vector operations of the best instruction set; the ones used here give the same bits with all.
const Ops& vector_ops() {
  static const Ops& table = ops(select_isa());
  return table;
}

Extent extent_of(std::span<const float> row) {
  Extent extent;
  vector_ops().extent(row.data(), std::ssize(row), &extent.lo, &extent.hi);
  return extent;
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

  Scheme scheme() const override {
    return options_.planes ? uniform_planes_scheme(q_.scheme) : q_.scheme;
  }

  QuantizedMatrix finish(std::vector<uint16_t> codes) && override {
    QuantizedMatrix q = std::move(*this).ParameterGrid::finish(std::move(codes));
    return options_.planes ? uniform_to_planes(q) : std::move(q);
  }

  std::span<const float> explore_factors() const override {
    static constexpr std::array<float, 7> kShrink = {0.4f, 0.5f, 0.6f, 0.7f, 0.8f, 0.9f, 1.0f};
    const bool widest =
        !options_.search && options_.rms_factor == 0 && options_.zero != ZeroKind::kCentered;
    return widest ? kShrink : kExploreFactors;
  }

  std::unique_ptr<FittedGrid> rescaled(float factor) const override {
    auto copy = std::make_unique<UniformGrid>(*this);
    copy->multiply_scales(factor);
    return copy;
  }

  void fit(int64_t col_begin, int64_t row_begin, Matrix<const float> weight,
           std::span<const float> importance, ThreadPool& pool) override {
    std::vector<Extent> extents = extents_of(weight, pool);
    if (options_.search) shrink(extents, row_begin, weight, importance, pool);
    const size_t first = set_of(row_begin, col_begin);
    const size_t step = set_of(row_begin + 1, col_begin) - first;
    for (size_t r = 0; r < extents.size(); ++r) {
      const size_t set = first + r * step;
      const int64_t in_weight = static_cast<int64_t>(r), row = row_begin + in_weight;
      Parameters fitted = parameters(extents[r], row);
      if (options_.half_quadratic) fitted.zero = half_quadratic_zero(weight.row(in_weight), fitted);
      q_.scale[set] = store_scale(fitted.scale, row);
      if (zero_is_stored(options_.zero)) q_.zero[set] = fitted.zero;
      if (options_.planes) check_offset(set, row);
    }
  }

  void values(int64_t col, int64_t row_begin, Matrix<const uint16_t> codes,
              Matrix<float> value) const override {
    if (!options_.planes) return ParameterGrid::values(col, row_begin, codes, value);
    for (int64_t r = 0; r < codes.rows; ++r) {
      const Parameters p = parameters_of(set_of(row_begin + r, col));
      for (int64_t c = 0; c < codes.cols; ++c) {
        value.at(r, c) = plane_value(p, static_cast<float>(codes.at(r, c)));
      }
    }
  }

  bool refits() const override { return options_.sharing != Sharing::kMatrix && !options_.planes; }

  void round(int64_t col, int64_t row_begin, Matrix<const float> target, Matrix<uint16_t> codes,
             Matrix<float> value) const override {
    const size_t first = set_of(row_begin, col), step = set_of(row_begin + 1, col) - first;
    for (int64_t r = 0; r < target.rows; ++r) {
      const size_t set = first + static_cast<size_t>(r) * step;
      if (options_.planes) {
        round_to_planes(set, target.row(r), codes.row(r), value.row(r));
        continue;
      }
      const Rounder rounder = rounder_for(parameters_of(set));
      uint16_t* to = codes.data + r * codes.stride;
      float* values = value.data + r * value.stride;
      if (rounder.by.scale == 0) {
        std::fill_n(to, target.cols, static_cast<uint16_t>(static_cast<int32_t>(rounder.rest)));
        std::fill_n(values, target.cols, rounder.value(rounder.rest));
        continue;
      }
      round_affine_(target.data + r * target.stride, target.cols, rounder.by, to, values);
    }
  }

 private:
  Parameters parameters_of(size_t set) const {
    return {q_.scale[set], zero_is_stored(options_.zero) ? q_.zero[set] : fixed_zero_};
  }

  void check_offset(size_t set, int64_t row) const {
    const Parameters p = parameters_of(set);
    if (!std::isfinite(uniform_planes_offset(p.scale, p.zero, options_.bits))) {
      fail(ErrorCode::kUnsupported, where_, "row {}: the offset of its planes is beyond binary16",
           row);
    }
  }

  float middle_code() const { return static_cast<float>((1 << options_.bits) - 1) / 2; }

  float plane_value(Parameters p, float code) const {
    return p.scale * (code - middle_code()) + uniform_planes_offset(p.scale, p.zero, options_.bits);
  }

  /// The scale in closed form, and a float zero with it: values move by t v + d, and
  /// (v H v^T, v H 1^T; v H 1^T, 1 H 1^T) (t, d) = (v slope^T, 1 slope^T).
  void propose(const RefitProblem& problem, Matrix<const float> value) override {
    if (options_.zero != ZeroKind::kFloat) {
      ParameterGrid::propose(problem, value);
      for (int64_t r = 0; r < value.rows; ++r) {
        float& scale = q_.scale[set_of(problem.row_begin + r, problem.col_begin)];
        scale = std::max(scale, options_.eps);
      }
      return;
    }
    const int64_t n = value.cols;
    std::vector<double> sums(static_cast<size_t>(n));  // 1 H
    double ones = 0;                                   // 1 H 1^T
    for (int64_t j = 0; j < n; ++j) {
      for (const double entry : problem.h.row(j)) sums[static_cast<size_t>(j)] += entry;
      ones += sums[static_cast<size_t>(j)];
    }
    const std::vector<double> squares = value_squares(value, problem.h, problem.isa);
    for (int64_t r = 0; r < value.rows; ++r) {
      double mixed = 0, value_slope = 0, slope = 0;
      for (int64_t j = 0; j < n; ++j) {
        const double v = value.at(r, j), down = problem.slope.at(r, j);
        mixed += v * sums[static_cast<size_t>(j)];
        value_slope += v * down;
        slope += down;
      }
      const double square = squares[static_cast<size_t>(r)];
      const double determinant = square * ones - mixed * mixed;
      if (!(determinant > 1e-12 * square * ones)) continue;  // one value only
      const double t = (value_slope * ones - slope * mixed) / determinant;
      const size_t set = set_of(problem.row_begin + r, problem.col_begin);
      const float old = q_.scale[set];
      const auto scale = storable_scale(old * (1 + t), problem.row_begin + r);
      if (!scale || *scale < options_.eps) continue;
      // The best move of all values beside the scale as it is stored.
      const double move = (slope - (static_cast<double>(*scale) / old - 1) * mixed) / ones;
      const float zero = round_to_float16(static_cast<float>(q_.zero[set] - move / *scale));
      if (!(std::fabs(zero) <= kLargestZero)) continue;
      q_.scale[set] = *scale;
      q_.zero[set] = zero;
    }
  }

  /// Values as planes hold them: the offset is rounded to binary16, which moves all of them alike.
  void round_to_planes(size_t set, std::span<const float> target, std::span<uint16_t> codes,
                       std::span<float> value) const {
    const Parameters p = parameters_of(set);
    const float offset = uniform_planes_offset(p.scale, p.zero, options_.bits);
    const float moved = offset - p.scale * (middle_code() - p.zero);
    const Rounder rounder = rounder_for(p);
    for (size_t c = 0; c < target.size(); ++c) {
      const float code = rounder.code(target[c] - moved);
      codes[c] = static_cast<uint16_t>(static_cast<int32_t>(code));
      value[c] = plane_value(p, code);
    }
  }

  /// Rounds single weights by one set of parameters, as Ops::round_affine does rows of them.
  struct Rounder {
    AffineRounding by;
    float rest;  // the code if the scale is 0
    float code(float target) const {
      constexpr float kOnes = 0x1.8p23f;  // floats around it are 1 apart
      if (by.scale == 0) return rest;
      const float steps = target / by.scale + by.before;
      const float raised = steps < by.lo ? by.lo : steps;
      const float inside = by.hi < raised ? by.hi : raised;
      return (inside + kOnes) - kOnes + by.after;
    }
    float value(float code) const { return by.scale * (code - by.zero); }
  };

  Rounder rounder_for(Parameters p) const {
    const bool whole =
        options_.zero == ZeroKind::kUnsigned || options_.zero == ZeroKind::kSymmetric;
    // A whole zero is added after rounding, as published; ties would differ otherwise.
    const float after = whole ? p.zero : 0;
    return {.by = {.scale = p.scale,
                   .zero = p.zero,
                   .before = whole ? 0 : p.zero,
                   .after = after,
                   .lo = code_lo_ - after,
                   .hi = code_hi_ - after},
            .rest = std::clamp(round_half_even(p.zero), code_lo_, code_hi_)};
  }

  /// What the codes of each row shall span; one entry if the matrix has one scale.
  std::vector<Extent> extents_of(Matrix<const float> weight, ThreadPool& pool) const {
    std::vector<Extent> extents(static_cast<size_t>(weight.rows));
    std::vector<double> squares(extents.size());
    for_row_chunks(pool, weight.rows, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const size_t i = static_cast<size_t>(r);
        extents[i] = extent_of(weight.row(r));
        if (options_.rms_factor > 0) {
          for (float w : weight.row(r)) squares[i] += static_cast<double>(w) * w;
        }
      }
    });
    if (options_.sharing == Sharing::kMatrix) {
      for (size_t r = 1; r < extents.size(); ++r) {
        extents[0].lo = std::min(extents[0].lo, extents[r].lo);
        extents[0].hi = std::max(extents[0].hi, extents[r].hi);
        squares[0] += squares[r];
      }
      extents.resize(1);
    }
    if (options_.rms_factor > 0) {
      const bool one = options_.sharing == Sharing::kMatrix;
      const double count = static_cast<double>(weight.cols * (one ? weight.rows : 1));
      for (size_t r = 0; r < extents.size(); ++r) {
        const float hi = static_cast<float>(options_.rms_factor * std::sqrt(squares[r] / count));
        extents[r] = {-hi, hi};
      }
    }
    return extents;
  }

  /// The clip search: each extent becomes the fraction of itself with the least squared error,
  /// weighted by importance; the largest one among equals.
  void shrink(std::vector<Extent>& extents, int64_t row_begin, Matrix<const float> weight,
              std::span<const float> importance, ThreadPool& pool) const {
    const bool one = options_.sharing == Sharing::kMatrix;
    std::vector<std::array<double, kClips>> errors(static_cast<size_t>(weight.rows));
    for_row_chunks(pool, weight.rows, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const size_t i = static_cast<size_t>(r);
        for (size_t k = 0; k < kClips; ++k) {
          const Parameters p = parameters(extents[one ? 0 : i].times(clip(k)), row_begin + r);
          errors[i][k] = squared_error(weight.row(r), importance, p);
        }
      }
    });
    for (size_t r = 1; one && r < errors.size(); ++r) {
      for (size_t k = 0; k < kClips; ++k) errors[0][k] += errors[r][k];
    }
    for (size_t i = 0; i < extents.size(); ++i) {
      const auto best = std::min_element(errors[i].begin(), errors[i].end());
      extents[i] = extents[i].times(clip(static_cast<size_t>(best - errors[i].begin())));
    }
  }

  double squared_error(std::span<const float> row, std::span<const float> importance,
                       Parameters p) const {
    const Rounder rounder = rounder_for(p);
    double sum = 0;
    for (size_t c = 0; c < row.size(); ++c) {
      const double error = static_cast<double>(rounder.value(rounder.code(row[c]))) - row[c];
      sum += error * error * (importance.empty() ? 1.0 : importance[c]);
    }
    return sum;
  }

  /// HQQ (Badri and Shaji, mobiusml.github.io/hqq_blog): the zero that minimizes the p-norm of the
  /// error, p = 0.7, by half-quadratic splitting, until the mean error rises; scale from min-max.
  /// Differs: of the zeros of all rounds, as stored in binary16, the one with the least mean error
  /// is kept.
  float half_quadratic_zero(std::span<const float> row, Parameters p) const {
    constexpr int kRounds = 20;
    constexpr float kNorm = 0.7f, kGrowth = 1.01f;
    if (p.scale == 0) return p.zero;
    float beta = 10, best_zero = p.zero;
    double least = -1, least_stored = absolute_error(row, p);
    for (int round = 0; round < kRounds; ++round) {
      const Rounder rounder = rounder_for(p);
      double error_sum = 0, zero_sum = 0;
      for (float w : row) {
        const float code = rounder.code(w);
        const float error = w - rounder.value(code), magnitude = std::fabs(error);
        const float kept =
            magnitude > 0 ? std::max(magnitude - std::pow(magnitude, kNorm - 1) / beta, 0.0f) : 0;
        error_sum += magnitude;
        zero_sum += code - (w - std::copysign(kept, error)) / p.scale;
      }
      p.zero = static_cast<float>(zero_sum / static_cast<double>(row.size()));
      const float stored = round_to_float16(p.zero);
      const double stored_error = absolute_error(row, {p.scale, stored});
      if (stored_error < least_stored) {
        least_stored = stored_error;
        best_zero = stored;
      }
      if (least >= 0 && error_sum >= least) break;
      least = error_sum;
      beta *= kGrowth;
    }
    return best_zero;
  }

  double absolute_error(std::span<const float> row, Parameters p) const {
    const Rounder rounder = rounder_for(p);
    double sum = 0;
    for (float w : row) sum += std::fabs(w - rounder.value(rounder.code(w)));
    return sum;
  }

  /// Parameters whose codes span `extent`, as stored but for the factor of `rescaled`.
  Parameters parameters(Extent extent, int64_t row) const {
    const float steps = static_cast<float>((1 << options_.bits) - 1);
    const float magnitude = std::max(std::fabs(extent.lo), std::fabs(extent.hi));
    const auto store = [&](float scale) {
      return fitted_scale(std::max(scale, options_.eps), row);
    };
    if (options_.has_range) {
      const float half = static_cast<float>(options_.hi - options_.lo) / 2;
      return {store(magnitude / half), fixed_zero_};
    }
    switch (options_.zero) {
      case ZeroKind::kSymmetric:
      case ZeroKind::kCentered:
        return {store(magnitude / (steps / 2)), fixed_zero_};
      case ZeroKind::kFloat: {
        const float scale = store((extent.hi - extent.lo) / steps);
        if (scale != 0 && std::fabs(extent.lo / scale) <= kLargestZero) {
          return {scale, round_to_float16(-extent.lo / scale)};
        }
        [[fallthrough]];
      }
      case ZeroKind::kUnsigned: {
        const float lo = std::min(0.0f, extent.lo), hi = std::max(0.0f, extent.hi);
        const float scale = store((hi - lo) / steps);
        return {scale, scale != 0 ? std::clamp(round_half_even(-lo / scale), 0.0f, steps) : 0};
      }
    }
    return {};
  }

  Options options_;
  decltype(Ops::round_affine) round_affine_ = vector_ops().round_affine;
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
                  .eps = static_cast<float>(request.params.get_float("eps")),
                  .search = searches_scale(request.params),
                  .half_quadratic = request.params.get_choice("fit") == "half-quadratic",
                  .planes = request.params.get_choice("storage") == "planes"};
  if (options.planes && options.bits > kMaxPlanes) {
    fail(ErrorCode::kInvalidArgument, "--storage planes", "goes with up to {} bits, found {}",
         kMaxPlanes, options.bits);
  }
  if (options.planes && options.sharing == Sharing::kMatrix) {
    fail(ErrorCode::kInvalidArgument, "--storage planes", "does not go with --scale-per tensor");
  }
  if (options.half_quadratic && options.zero != ZeroKind::kFloat) {
    fail(ErrorCode::kInvalidArgument, "--fit half-quadratic",
         "fits a zero: it goes with --zero float, found --zero {}",
         request.params.get_choice("zero"));
  }
  if (options.half_quadratic && options.sharing == Sharing::kMatrix) {
    fail(ErrorCode::kInvalidArgument, "--fit half-quadratic",
         "does not go with --scale-per tensor");
  }
  if (request.params.get_choice("scale-from") == "rms") {
    if (zero_is_stored(options.zero)) {
      fail(ErrorCode::kInvalidArgument, "--scale-from rms",
           "goes with --zero centered or symmetric, found --zero {}",
           request.params.get_choice("zero"));
    }
    options.rms_factor = request.params.get_float("rms-factor");
  }
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

std::string zero_unread(const ParamUse& use) {
  const bool replaced = use.params.has("range") && zero_kind(use.params) != ZeroKind::kSymmetric;
  return replaced ? "with --range the zero is symmetric" : "";
}

std::string rms_factor_unread(const ParamUse& use) {
  return use.params.get_choice("scale-from") == "rms" ? "" : "it goes with --scale-from rms";
}

std::string refit_unread(const Params& params) {
  if (params.get_choice("scale-per") == "tensor")
    return "with --scale-per tensor no row has a scale";
  const bool planes = params.get_choice("storage") == "planes";
  return planes ? "scales with the offsets of --storage planes stay as fitted" : "";
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
                  .choices = {"integer", "symmetric", "centered", "float"},
                  .unread = zero_unread},
                 scale_per_param(),
                 range_param(),
                 eps_param(),
                 scale_search_param(),
                 {.name = "scale-from",
                  .kind = ParamKind::kChoice,
                  .fallback = "range",
                  .help = "codes span the weights, or -+ rms-factor times their root mean square",
                  .choices = {"range", "rms"}},
                 {.name = "rms-factor",
                  .kind = ParamKind::kFloat,
                  .fallback = "2.4",
                  .help = "with --scale-from rms; QuIP's rho",
                  .choices = {},
                  .min = 0.1,
                  .max = 100,
                  .unread = rms_factor_unread},
                 {.name = "fit",
                  .kind = ParamKind::kChoice,
                  .fallback = "plain",
                  .help = "half-quadratic: a float zero that minimizes the 0.7-norm of the error",
                  .choices = {"plain", "half-quadratic"}},
                 storage_param()},
      .min_bits = 2,
      .max_bits = 8,
      .groups = true,
      .needed_bits = needed_bits,
      .check = check,
      .make = make,
      .importance_unread = importance_unread_unless_searched,
      .refit_unread = refit_unread};
  return kGrid;
}

}  // namespace twofold
