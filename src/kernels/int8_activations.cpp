#include "kernels/int8_activations.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked_math.h"
#include "base/error.h"
#include "kernels/select.h"

namespace twofold {
namespace {

constexpr int64_t kRowsPerItem = 8;
static_assert(kTileRows % kRowsPerItem == 0);
constexpr int64_t kTileColumns = kInt8Padding;

int64_t rows_of_tiles(int64_t rows, Isa isa) {
  if (isa < Isa::kAmx || rows < kFewestTileRows) return 0;
  return rows <= kTileRows ? kTileRows : round_up(rows, 2 * kTileRows);
}

}  // namespace

Int8Activations::Int8Activations(Matrix<const float> x, const ActivationRounding& rounding, Isa isa,
                                 ThreadPool& pool)
    : rounding_(rounding),
      rows_(x.rows * rounding.digits),
      cols_(x.cols),
      block_(rounding.block),
      blocks_(ceil_div(x.cols, block_)),
      stride_(round_up(x.cols, kInt8Padding)),
      sums_per_row_(ceil_div(x.cols, kSumColumns)),
      tile_rows_(rows_of_tiles(rows_, isa)),
      values_(static_cast<size_t>(rows_ * stride_)),
      tiles_(static_cast<size_t>(tile_rows_ * stride_)),
      scales_(static_cast<size_t>(rows_ * blocks_)),
      sums_(static_cast<size_t>(rows_ * sums_per_row_)) {
  TWOFOLD_ASSERT(is_activation_rounding(rounding));
  const RoundRowFn round = select_row_rounding(isa);
  if (rows_ <= kRowsPerItem && tile_rows_ == 0) {
    round_rows(x, round, 0, rows_);
    return;
  }
  const int64_t each = tile_rows_ == 0 ? kRowsPerItem : kTileRows;
  pool.run(ceil_div(std::max(rows_, tile_rows_), each), [&](int64_t item, int) {
    const int64_t begin = std::min(rows_, item * each), end = std::min(rows_, begin + each);
    round_rows(x, round, begin, end);
    if (tile_rows_ != 0) copy_to_tile(item * each, end);
  });
}

/// Rows [begin, end), of which begin is the first digit of a row of x.
void Int8Activations::round_rows(Matrix<const float> x, RoundRowFn round, int64_t begin,
                                 int64_t end) {
  if (rounding_.digits == 1) {
    for (int64_t r = begin; r < end; ++r) round_row(x.row(r).data(), round, r);
    return;
  }
  std::vector<float> rest(static_cast<size_t>(cols_));
  for (int64_t r = begin; r < end; r += 2) {
    std::ranges::copy(x.row(r / 2), rest.begin());
    round_row(rest.data(), round, r);
    subtract_row(r, rest.data());
    round_row(rest.data(), round, r + 1);
  }
}

void Int8Activations::round_row(const float* x, RoundRowFn round, int64_t row) {
  round(x, cols_, block_, values_.data() + row * stride_, scales_.data() + row * blocks_,
        sums_.data() + row * sums_per_row_);
}

/// x [cols] minus what a row stands for.
void Int8Activations::subtract_row(int64_t row, float* x) const {
  const int8_t* values = values_.data() + row * stride_;
  for (int64_t b = 0; b < blocks_; ++b) {
    const float scale = scales_[static_cast<size_t>(row * blocks_ + b)];
    const int64_t end = std::min(cols_, (b + 1) * block_);
    for (int64_t c = b * block_; c < end; ++c) x[c] -= scale * static_cast<float>(values[c]);
  }
}

/// Rows [begin, end) to the tile that starts at row `begin`.
void Int8Activations::copy_to_tile(int64_t begin, int64_t end) {
  int8_t* to = tiles_.data() + begin * stride_;
  for (int64_t c = 0; c < stride_; c += kTileColumns) {
    for (int64_t r = begin; r < begin + kTileRows; ++r, to += kTileColumns) {
      if (r < end) {
        std::memcpy(to, values_.data() + r * stride_ + c, kTileColumns);
      } else {
        std::memset(to, 0, kTileColumns);
      }
    }
  }
}

Int8Rows Int8Activations::cut(int64_t group) {
  if (cut_for_ != group) {
    segment_ = std::min(group, block_);
    if (group >= cols_) segment_ = block_;
    segments_ = ceil_div(cols_, segment_);
    const int64_t groups = ceil_div(cols_, group), per_group = ceil_div(group, segment_);
    const int64_t sums_each = segment_ / kSumColumns;
    segment_scales_.resize(static_cast<size_t>(rows_ * segments_));
    segment_sums_.resize(static_cast<size_t>(rows_ * segments_));
    group_sums_.resize(static_cast<size_t>(rows_ * groups));
    tile_scales_.assign(static_cast<size_t>(tile_rows_ * segments_), 0.0f);
    tile_sums_.assign(static_cast<size_t>(tile_rows_ * groups), 0.0f);
    for (int64_t r = 0; r < rows_; ++r) {
      float* scales = segment_scales_.data() + r * segments_;
      int32_t* sums = segment_sums_.data() + r * segments_;
      const int32_t* parts = sums_.data() + r * sums_per_row_;
      for (int64_t s = 0; s < segments_; ++s) {
        scales[s] = scales_[static_cast<size_t>(r * blocks_ + s * segment_ / block_)];
        sums[s] = 0;
        for (int64_t i = s * sums_each; i < std::min((s + 1) * sums_each, sums_per_row_); ++i) {
          sums[s] += parts[i];
        }
      }
      for (int64_t g = 0; g < groups; ++g) {
        float sum = 0;
        for (int64_t s = g * per_group; s < std::min((g + 1) * per_group, segments_); ++s) {
          sum = std::fma(scales[s], static_cast<float>(sums[s]), sum);
        }
        group_sums_[static_cast<size_t>(r * groups + g)] = sum;
        if (tile_rows_ != 0) tile_sums_[static_cast<size_t>(g * tile_rows_ + r)] = sum;
      }
      if (tile_rows_ == 0) continue;
      for (int64_t s = 0; s < segments_; ++s) {
        tile_scales_[static_cast<size_t>(s * tile_rows_ + r)] = scales[s];
      }
    }
    cut_for_ = group;
  }
  return {.values = values_.data(),
          .stride = stride_,
          .segment = segment_,
          .segments = segments_,
          .scales = segment_scales_.data(),
          .sums = segment_sums_.data(),
          .group_sums = group_sums_.data(),
          .tile_rows = tile_rows_,
          .tiles = tiles_.data(),
          .tile_scales = tile_scales_.data(),
          .tile_sums = tile_sums_.data()};
}

void Int8Activations::dequantize(Matrix<float> out) const {
  for (int64_t r = 0; r < rows_; r += rounding_.digits) {
    const std::span<float> to = out.row(r / rounding_.digits);
    std::ranges::fill(to, 0.0f);
    for (int64_t digit = rounding_.digits; digit-- > 0;) subtract_row(r + digit, to.data());
    for (float& value : to) value = -value;
  }
}

}  // namespace twofold
