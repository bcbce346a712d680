// Every weight to the value the grid gives it by itself, group by group.
#include "quant/rounding/members.h"
#include "quant/row_chunks.h"

namespace twofold {
namespace {

RoundingResult run(const RoundingInput& input, FittedGrid& grid, const Context& ctx) {
  const Matrix<const float> weight = input.weight;
  const int64_t group = grid.group() > 0 ? grid.group() : weight.cols;
  const std::vector<float> importance =
      input.moment != nullptr ? input.moment->diagonal() : std::vector<float>();
  std::vector<uint16_t> codes(static_cast<size_t>(weight.rows * weight.cols));
  for (int64_t col = 0; col < weight.cols; col += group) {
    const int64_t n = std::min(group, weight.cols - col);
    const std::span<const float> part =
        importance.empty()
            ? std::span<const float>()
            : std::span(importance).subspan(static_cast<size_t>(col), static_cast<size_t>(n));
    grid.fit(col, {weight.data + col, weight.rows, n, weight.stride}, part, ctx.pool);
    for_row_chunks(ctx.pool, weight.rows, [&](int64_t begin, int64_t end) {
      ctx.check_cancelled();
      const int64_t rows = end - begin;
      std::vector<float> value(static_cast<size_t>(rows * n));
      grid.round(col, begin, {weight.data + begin * weight.stride + col, rows, n, weight.stride},
                 {codes.data() + begin * weight.cols + col, rows, n, weight.cols},
                 {value.data(), rows, n});
    });
  }
  return {.codes = std::move(codes), .notes = {}};
}

}  // namespace

const Rounding& nearest_rounding() {
  static const Rounding kRounding = {.name = "nearest",
                                     .paper = "",
                                     .help = "each weight to the nearest value of the grid",
                                     .params = {},
                                     .needs_moment = false,
                                     .run = run};
  return kRounding;
}

}  // namespace twofold
