// Binary coding fitted to the weights themselves (BCQ): a few bit planes with a factor each.
#include "base/error.h"
#include "quant/grids/binary_coding.h"
#include "quant/grids/members.h"
#include "quant/row_chunks.h"

namespace twofold {
namespace {

constexpr int kLevelExponent = -7;

class BinaryGrid final : public RowTableGrid {
 public:
  BinaryGrid(const GridRequest& request, int rounds)
      : RowTableGrid({.bits = request.bits,
                      .group = request.group,
                      .level_exponent = kLevelExponent,
                      .binary_coding = true,
                      .planes = request.params.get_choice("storage") == "planes"},
                     request.rows, request.cols, request.where),
        rounds_(rounds) {}

  std::unique_ptr<FittedGrid> rescaled(float factor) const override {
    auto copy = std::make_unique<BinaryGrid>(*this);
    copy->rescale(factor);
    return copy;
  }

  void fit(int64_t col_begin, int64_t row_begin, Matrix<const float> weight,
           std::span<const float> importance, ThreadPool& pool) override {
    for_row_chunks(pool, weight.rows, [&](int64_t begin, int64_t end) {
      SortedRow sorted;
      for (int64_t r = begin; r < end; ++r) {
        sorted.assign(weight.row(r), importance);
        const int planes = scheme().bits;
        const int64_t row = row_begin + r;
        const auto store = [&](double step) { return stored_step(step, row); };
        set_table(set_of(row, col_begin), row,
                  integer_alphas(fit_alphas(sorted, planes, rounds_), planes, store));
      }
    });
  }

 private:
  int rounds_;
};

void check(const GridRequest& request) { check_bits(binary_grid(), request); }

std::unique_ptr<FittedGrid> make(const GridRequest& request) {
  check(request);
  return std::make_unique<BinaryGrid>(request,
                                      static_cast<int>(request.params.get_int("bcq-rounds")));
}

}  // namespace

const Grid& binary_grid() {
  static const Grid kGrid = {
      .name = "binary",
      .paper = "arXiv:1802.00150",
      .help = "sums of binary planes times a factor each, fitted to the weights",
      .params = {{.name = "bcq-rounds",
                  .kind = ParamKind::kInt,
                  .fallback = "15",
                  .help = "rounds of alternating refinement after the greedy start",
                  .choices = {},
                  .min = 0,
                  .max = 100},
                 storage_param()},
      .min_bits = 2,
      .max_bits = kMaxPlanes,
      .groups = true,
      .needed_bits = bits_are_open,
      .check = check,
      .make = make};
  return kGrid;
}

}  // namespace twofold
