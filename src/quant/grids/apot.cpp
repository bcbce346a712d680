// Additive powers of two with two terms (Li, Dong, Wang, arXiv:1909.13144, Sec. 2.2): a level is a
// sign times a + b with a and b zero or a power of two. Scaled to integers:
//   4 bits: a in {0, 1, 4, 8},  b in {0, 2}            0 1 2 3 4 6 8 10
//   5 bits: a in {0, 2, 8, 32}, b in {0, 1, 4, 16}     0 1 2 3 4 6 8 9 12 16 18 24 32 33 36 48
//   6 bits: every integer with at most two ones among 2^0 to 2^6: 29 magnitudes, largest 96.
// 4 and 5 bits are the paper's sets; its 6-bit set has three terms, so ours differs.
#include <set>

#include "base/error.h"
#include "quant/grids/members.h"
#include "quant/grids/table_grid.h"

namespace twofold {
namespace {

struct Terms {
  std::vector<float> a, b;
};

Terms terms_of(int bits) {
  if (bits == 4) return {{0, 1, 4, 8}, {0, 2}};
  if (bits == 5) return {{0, 2, 8, 32}, {0, 1, 4, 16}};
  const std::vector<float> powers = {0, 1, 2, 4, 8, 16, 32, 64};
  return {powers, powers};
}

struct ApotRule {
  std::vector<float> levels;
  float divisor = 1;
  int top_exponent = 0;
  // [2 divisor + 1] index of the magnitude nearest to x, at ceil(2x): midpoints are half integers.
  std::vector<uint16_t> nearest;
  uint16_t sign_bit = 0;

  /// Nearest level; a tie goes to the smaller magnitude.
  uint16_t encode(float x) const {
    const float doubled = std::min(2 * std::fabs(x), 2 * divisor);
    const int floor = static_cast<int>(doubled);
    const int ceil = floor + (static_cast<float>(floor) < doubled ? 1 : 0);
    const uint16_t index = nearest[static_cast<size_t>(ceil)];
    return index != 0 && std::signbit(x) ? static_cast<uint16_t>(index | sign_bit) : index;
  }
};

ApotRule rule_of(int bits) {
  const Terms terms = terms_of(bits);
  std::set<float> magnitudes;
  for (float a : terms.a) {
    // Equal terms make a power of two, which the largest term already bounds.
    for (float b : terms.b) {
      if (a != b || a == 0) magnitudes.insert(a + b);
    }
  }
  ApotRule rule;
  rule.sign_bit = static_cast<uint16_t>(1 << (bits - 1));
  rule.levels.assign(size_t{1} << bits, 0.0f);
  uint16_t code = 0;
  float last = 0;
  for (float magnitude : magnitudes) {
    rule.levels[code] = magnitude;
    rule.levels[code | rule.sign_bit] = -magnitude;
    // Twice the midpoint below this magnitude: up to there the one before is nearest.
    while (code != 0 && static_cast<float>(rule.nearest.size()) <= last + magnitude) {
      rule.nearest.push_back(static_cast<uint16_t>(code - 1));
    }
    last = magnitude;
    ++code;
  }
  rule.nearest.resize(static_cast<size_t>(2 * last) + 1, static_cast<uint16_t>(code - 1));
  rule.levels[rule.sign_bit] = 0;  // not minus zero
  rule.divisor = last;
  rule.top_exponent = std::ilogb(last);
  return rule;
}

void check(const GridRequest& request) {
  check_bits(apot_grid(), request);
  scale_sharing(request);
}

std::unique_ptr<FittedGrid> make(const GridRequest& request) {
  check(request);
  const TableGridOptions options{.bits = request.bits,
                                 .sharing = scale_sharing(request),
                                 .group = request.group,
                                 .search = searches_scale(request.params),
                                 .eps = static_cast<float>(request.params.get_float("eps"))};
  return std::make_unique<TableGrid<ApotRule>>(options, rule_of(request.bits), request.rows,
                                               request.cols, request.where);
}

}  // namespace

const Grid& apot_grid() {
  static const Grid kGrid = {.name = "apot",
                             .paper = "arXiv:1909.13144",
                             .help = "signed sums of two powers of two",
                             .params = {scale_per_param(), eps_param(), scale_search_param()},
                             .min_bits = 4,
                             .max_bits = 6,
                             .groups = true,
                             .needed_bits = bits_are_open,
                             .check = check,
                             .make = make,
                             .importance_unread = importance_unread_unless_searched};
  return kGrid;
}

}  // namespace twofold
