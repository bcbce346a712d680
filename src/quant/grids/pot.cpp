// Signed powers of two (Elgenedy, "Power-of-Two (PoT) Weights in Large Language Models",
// arXiv:2506.00315, Sec. 4.2). Two steps: t = clamp(round(w / s), LO, HI), then |t| becomes a power
// of two; one step: |w / s| itself does. s = max|W| / ((HI - LO) / 2), at least eps.
// Differs from the paper: `nearest` is the default, scales may belong to rows and groups, and a
// code of b bits holds what it can (docs/methods/pot.md).
#include <bit>
#include <tuple>

#include "base/error.h"
#include "quant/grids/members.h"
#include "quant/grids/table_grid.h"
#include "quant/round_half_even.h"

namespace twofold {
namespace {

/// Exponents are read off the float's bits: a magnitude 2^e (1 + f 2^-23) becomes 2^(e+1) if its
/// 23-bit fraction f reaches a threshold.
struct ExponentRounding {
  std::string_view name;
  uint32_t fraction_threshold;
};
constexpr std::array kExponentRoundings = {
    ExponentRounding{"nearest", 0x3504f4},   // the first fraction above sqrt(2) - 1
    ExponentRounding{"up", 6},               // ceil(log2 t - 1e-6), as the reference script
    ExponentRounding{"midpoint", 0x400000},  // 1.5: nearest value; ties go up
};

uint32_t threshold_of(std::string_view name) {
  for (const ExponentRounding& rounding : kExponentRoundings) {
    if (rounding.name == name) return rounding.fraction_threshold;
  }
  fail(ErrorCode::kInternal, "exponent-rounding", "unknown choice");
}

/// Exponent of the power of two for a positive, normal magnitude.
int exponent_of(float magnitude, uint32_t threshold) {
  const uint32_t u = std::bit_cast<uint32_t>(magnitude);
  return static_cast<int>(u >> 23) - 127 + ((u & 0x7fffffu) >= threshold ? 1 : 0);
}

struct PotRule {
  std::vector<float> levels;
  float divisor = 1;
  int top_exponent = 0;
  float lo = 0, hi = 0;
  uint32_t threshold = 0;
  uint16_t sign_bit = 0;
  bool two_step = true;
  bool has_zero = true;

  uint16_t encode(float x) const {
    if (two_step) x = std::clamp(round_half_even(x), lo, hi);
    const float magnitude = std::fabs(x);
    const uint16_t sign = std::signbit(x) ? sign_bit : uint16_t{0};
    if (magnitude <= 0.5f) return has_zero ? uint16_t{0} : sign;
    const int e = std::clamp(exponent_of(magnitude, threshold), 0, top_exponent);
    return static_cast<uint16_t>(sign | (e + (has_zero ? 1 : 0)));
  }
};

struct Shape {
  int64_t lo = 0, hi = 0;
  int top_exponent = 0;
  bool has_zero = true;
};

int top_exponent_for(const Params& params, int64_t lo, int64_t hi) {
  return exponent_of(static_cast<float>(std::max(-lo, hi)),
                     threshold_of(params.get_choice("exponent-rounding")));
}

/// Without a range the bits decide: 3 bits have no zero, 4 to 8 bits do.
Shape shape_of(int bits, const Params& params) {
  Shape shape;
  if (params.has("range")) {
    std::tie(shape.lo, shape.hi) = params.get_range("range");
    shape.top_exponent = top_exponent_for(params, shape.lo, shape.hi);
    return shape;
  }
  constexpr std::array<int, 7> kTopExponent = {0, 0, 0, 3, 6, 7, 15};
  shape.top_exponent = kTopExponent[static_cast<size_t>(bits)];
  shape.hi = int64_t{1} << shape.top_exponent;
  shape.lo = -shape.hi;
  shape.has_zero = bits != 3;
  return shape;
}

/// Zero and e + 1 exponents with signs need e + 1 <= 2^(b-1) - 1.
int needed_bits(const Params& params) {
  if (!params.has("range")) return 0;
  const auto [lo, hi] = params.get_range("range");
  constexpr int64_t kLimit = int64_t{1} << 30;
  if (lo > 0 || hi < 0 || lo < -kLimit || hi > kLimit) {
    fail(ErrorCode::kInvalidArgument, "--range",
         "expected LO,HI around 0 within -2^30,2^30 for grid pot, found {},{}", lo, hi);
  }
  int bits = 2;
  while (top_exponent_for(params, lo, hi) + 1 > (1 << (bits - 1)) - 1) ++bits;
  return bits;
}

PotRule rule_of(int bits, const Params& params) {
  const Shape shape = shape_of(bits, params);
  PotRule rule;
  rule.divisor = static_cast<float>(static_cast<double>(shape.hi - shape.lo) / 2);
  rule.top_exponent = shape.top_exponent;
  rule.lo = static_cast<float>(shape.lo);
  rule.hi = static_cast<float>(shape.hi);
  rule.threshold = threshold_of(params.get_choice("exponent-rounding"));
  rule.sign_bit = static_cast<uint16_t>(1 << (bits - 1));
  rule.two_step = params.get_choice("form") == "two-step";
  rule.has_zero = shape.has_zero;
  rule.levels.assign(size_t{1} << bits, 0.0f);
  for (int e = 0; e <= shape.top_exponent; ++e) {
    const size_t code = static_cast<size_t>(e + (shape.has_zero ? 1 : 0));
    rule.levels[code] = std::ldexp(1.0f, e);
    rule.levels[code | rule.sign_bit] = -std::ldexp(1.0f, e);
  }
  return rule;
}

void check(const GridRequest& request) {
  check_bits(pot_grid(), request);
  scale_sharing(request);
}

std::unique_ptr<FittedGrid> make(const GridRequest& request) {
  check(request);
  const TableGridOptions options{.bits = request.bits,
                                 .sharing = scale_sharing(request),
                                 .group = request.group,
                                 .search = searches_scale(request.params),
                                 .eps = static_cast<float>(request.params.get_float("eps"))};
  return std::make_unique<TableGrid<PotRule>>(options, rule_of(request.bits, request.params),
                                              request.rows, request.cols, request.where);
}

}  // namespace

const Grid& pot_grid() {
  static const Grid kGrid = {
      .name = "pot",
      .paper = "arXiv:2506.00315",
      .help = "zero and signed powers of two (3 bits: no zero)",
      .params = {{.name = "exponent-rounding",
                  .kind = ParamKind::kChoice,
                  .fallback = "nearest",
                  .help = "nearest exponent, the next power of two up, or the nearest value",
                  .choices = {"nearest", "up", "midpoint"}},
                 {.name = "form",
                  .kind = ParamKind::kChoice,
                  .fallback = "two-step",
                  .help = "round to integers first, then to powers of two, or at once",
                  .choices = {"two-step", "one-step"}},
                 scale_per_param(),
                 range_param(),
                 eps_param(),
                 scale_search_param()},
      .min_bits = 2,
      .max_bits = 6,
      .groups = true,
      .needed_bits = needed_bits,
      .check = check,
      .make = make,
      .importance_unread = importance_unread_unless_searched};
  return kGrid;
}

}  // namespace twofold
