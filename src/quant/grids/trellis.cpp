// Trellis-coded weights (after QTIP, Tseng et al., arXiv:2406.11235): tiles of 16 x 16 weights are
// streams of bits whose overlapping windows name one of 64 levels; the scale of a row is its root
// mean square. For rotated weights, which are nearly normal.
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "quant/grids/common.h"
#include "quant/grids/members.h"
#include "quant/row_chunks.h"
#include "quant/trellis_encoder.h"
#include "quant/trellis_feedback.h"

namespace twofold {
namespace {

constexpr int64_t kMostPasses = 2;
constexpr std::array<float, 6> kFactors = {0.85f, 0.95f, 1.0f, 1.05f, 1.15f, 1.3f};

int window(const Params& params) { return std::stoi(params.get_choice("window")); }

/// 2^exponent is about the value of a level of 1 in weights of variance 1.
int level_exponent(const TrellisCode& code) {
  return static_cast<int>(std::lround(std::log2(code.unit)));
}

class TrellisGrid final : public ParameterGrid {
 public:
  explicit TrellisGrid(const GridRequest& request)
      : TrellisGrid(request, trained_trellis_code(request.bits, window(request.params))) {}

  int64_t width() const override { return kTrellisTile; }
  int64_t rows_sharing() const override { return kTrellisTile; }
  std::span<const float> explore_factors() const override { return kFactors; }
  int64_t passes() const override { return passes_; }

  std::unique_ptr<FittedGrid> rescaled(float factor) const override {
    auto copy = std::make_unique<TrellisGrid>(*this);
    copy->multiply_scales(factor);
    return copy;
  }

  void take_row(int64_t row, const FittedGrid& from) override {
    const int64_t first = round_down(row, kTrellisTile);
    for (int64_t r = first; r < std::min(first + kTrellisTile, q_.rows); ++r) {
      ParameterGrid::take_row(r, from);
    }
  }

  void fit(int64_t col_begin, int64_t row_begin, Matrix<const float> weight,
           std::span<const float> /*importance*/, ThreadPool& pool) override {
    for_row_chunks(pool, weight.rows, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        double sum = 0;
        for (float w : weight.row(r)) sum += static_cast<double>(w) * w;
        const double rms = std::sqrt(sum / static_cast<double>(weight.cols));
        const int64_t row = row_begin + r;
        const double scale = std::ldexp(rms * encoder_->code().unit, -q_.scheme.level_exponent);
        q_.scale[set_of(row, col_begin)] =
            store_scale(fitted_scale(static_cast<float>(scale), row), row);
      }
    });
  }

  void round(int64_t col, int64_t row_begin, Matrix<const float> target, Matrix<uint16_t> codes,
             Matrix<float> value) const override {
    round_tiles(col, row_begin, target, nullptr, codes, value);
  }

  void round_block(int64_t col, int64_t row_begin, Matrix<const float> target,
                   Matrix<const double> lower, Matrix<uint16_t> codes,
                   Matrix<float> value) const override {
    const std::optional<TrellisFeedback> feedback = fit_trellis_feedback(lower);
    round_tiles(col, row_begin, target, feedback ? &*feedback : nullptr, codes, value);
  }

  void values(int64_t /*col*/, int64_t row_begin, Matrix<const uint16_t> codes,
              Matrix<float> value) const override {
    for (int64_t r = 0; r < codes.rows; ++r) {
      const float scale = q_.scale[static_cast<size_t>(row_begin + r)];
      for (int64_t c = 0; c < codes.cols; ++c) {
        value.at(r, c) = value_of(scale, codes.at(r, c));
      }
    }
  }

  bool refits() const override { return true; }

 private:
  float value_of(float scale, uint16_t code) const {
    return scale * (static_cast<float>(encoder_->window_levels()[code]) * unit_);
  }

  TrellisGrid(const GridRequest& request, const TrellisCode& code)
      : ParameterGrid({.kind = ValueKind::kTrellis,
                       .bits = request.bits,
                       .scale_sharing = Sharing::kRow,
                       .table_sharing = Sharing::kMatrix,
                       .level_type = LevelType::kInt8,
                       .level_exponent = level_exponent(code),
                       .window = code.window},
                      request.rows, request.cols, request.where),
        encoder_(std::make_shared<TrellisEncoder>(code, request.isa)),
        ends_(request.params.get_choice("effort") == "fast" ? TrellisEnds::kOnePass
                                                            : TrellisEnds::kTwoPasses),
        passes_(request.params.get_choice("effort") == "max" ? kMostPasses : 0),
        unit_(std::ldexp(1.0f, q_.scheme.level_exponent)) {
    q_.levels.assign(code.levels.begin(), code.levels.end());
    q_.mixing = code.mixing;
  }

  void round_tiles(int64_t col, int64_t row_begin, Matrix<const float> target,
                   const TrellisFeedback* feedback, Matrix<uint16_t> codes,
                   Matrix<float> value) const {
    TWOFOLD_ASSERT(row_begin % kTrellisTile == 0 && col % kTrellisTile == 0);
    for (int64_t r = 0; r < target.rows; r += kTrellisTile) {
      for (int64_t c = 0; c < target.cols; c += kTrellisTile) {
        const int64_t rows = std::min(kTrellisTile, target.rows - r);
        const int64_t cols = std::min(kTrellisTile, target.cols - c);
        round_tile(row_begin + r, {target.data + r * target.stride + c, rows, cols, target.stride},
                   feedback, {codes.data + r * codes.stride + c, rows, cols, codes.stride},
                   {value.data + r * value.stride + c, rows, cols, value.stride});
      }
    }
  }

  /// @param target of a tile, at most 16 x 16.
  void round_tile(int64_t row_begin, Matrix<const float> target, const TrellisFeedback* feedback,
                  Matrix<uint16_t> codes, Matrix<float> value) const {
    thread_local TrellisWorkspace workspace;
    TrellisTarget tile;
    tile.feedback = feedback;
    tile.value.fill(0);
    tile.padding.fill(1);
    const auto step = [](int64_t r, int64_t c) {
      return static_cast<size_t>(r * kTrellisTile + c);
    };
    for (int64_t r = 0; r < target.rows; ++r) {
      const float level = q_.scale[static_cast<size_t>(row_begin + r)] * unit_;
      for (int64_t c = 0; c < target.cols; ++c) {
        tile.value[step(r, c)] = level > 0 ? target.at(r, c) / level : 0.0f;
        tile.padding[step(r, c)] = 0;
      }
    }
    const TrellisTile windows = encoder_->encode(tile, ends_, workspace);
    for (int64_t r = 0; r < target.rows; ++r) {
      const float scale = q_.scale[static_cast<size_t>(row_begin + r)];
      for (int64_t c = 0; c < target.cols; ++c) {
        const uint16_t code = windows[step(r, c)];
        codes.at(r, c) = code;
        value.at(r, c) = value_of(scale, code);
      }
    }
  }

  std::shared_ptr<const TrellisEncoder> encoder_;
  TrellisEnds ends_;
  int64_t passes_;
  float unit_;  // 2^level_exponent
};

std::string importance_unread(const Params& /*params*/) {
  return "a trellis takes the root mean square of all weights";
}

std::string refit_unread(const Params& /*params*/) { return {}; }

std::string effort_unread(const ParamUse& use) {
  return use.params.get_choice("effort") == "max" ? use.loop_unread : std::string();
}

void check(const GridRequest& request) {
  check_bits(trellis_grid(), request);
  trained_trellis_code(request.bits, window(request.params));
}

std::unique_ptr<FittedGrid> make(const GridRequest& request) {
  check(request);
  return std::make_unique<TrellisGrid>(request);
}

}  // namespace

const Grid& trellis_grid() {
  static const Grid kGrid = {
      .name = "trellis",
      .paper = "arXiv:2406.11235",
      .help = "tiles of 16 x 16 weights as streams of bits, read through overlapping windows",
      .params = {{.name = "window",
                  .kind = ParamKind::kChoice,
                  .fallback = "12",
                  .help = "bits of a window: 12, or 6, which is lighter to decode",
                  .choices = {"12", "6"}},
                 {.name = "effort",
                  .kind = ParamKind::kChoice,
                  .fallback = "normal",
                  .help = "search for the stream of a tile: in one pass (fast), in two, of which "
                          "the first finds where its ends meet (normal), and again after a loop, "
                          "with the final errors of the other tiles (max)",
                  .choices = {"fast", "normal", "max"},
                  .unread = effort_unread}},
      .min_bits = 1,
      .max_bits = 4,
      .groups = false,
      .needed_bits = bits_are_open,
      .check = check,
      .make = make,
      .width = kTrellisTile,
      .importance_unread = importance_unread,
      .refit_unread = refit_unread};
  return kGrid;
}

}  // namespace twofold
