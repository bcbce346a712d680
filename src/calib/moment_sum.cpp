#include "calib/moment_sum.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "tensor/gram.h"

namespace twofold {
namespace {

constexpr int64_t kRowsPerItem = 64;
constexpr int64_t kColsPerItem = 128;

/// True if every number is finite and at most 2^56: more would overflow float32 when squared and
/// summed over 2^15 tokens.
bool usable(std::span<const float> row) {
  const uint32_t limit = std::bit_cast<uint32_t>(0x1p56f);
  uint32_t largest = 0;  // of the magnitudes, which order as their bits do
  for (const float x : row) largest = std::max(largest, std::bit_cast<uint32_t>(x) & 0x7fffffffu);
  return largest <= limit;
}

/// Which rows are usable: [rows] of 0 or 1.
std::vector<uint8_t> usable_rows(Matrix<const float> x, ThreadPool& pool) {
  std::vector<uint8_t> found(static_cast<size_t>(x.rows));
  pool.run_static(ceil_div(x.rows, kRowsPerItem), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin * kRowsPerItem; r < std::min(end * kRowsPerItem, x.rows); ++r) {
      found[static_cast<size_t>(r)] = usable(x.row(r)) ? 1 : 0;
    }
  });
  return found;
}

/// magnitude [x.cols] += sum of |x| over the rows, each column in row order.
void add_magnitudes(Matrix<const float> x, std::vector<double>& magnitude, ThreadPool& pool) {
  pool.run_static(ceil_div(x.cols, kColsPerItem), [&](int64_t begin, int64_t end, int) {
    const int64_t first = begin * kColsPerItem, last = std::min(end * kColsPerItem, x.cols);
    for (int64_t r = 0; r < x.rows; ++r) {
      const float* row = x.row(r).data();
      for (int64_t c = first; c < last; ++c) {
        magnitude[static_cast<size_t>(c)] += static_cast<double>(std::fabs(row[c]));
      }
    }
  });
}

}  // namespace

MomentSum::MomentSum(int64_t cols)
    : cols_(cols), h_(static_cast<size_t>(cols * cols)), magnitude_(static_cast<size_t>(cols)) {}

int64_t MomentSum::bytes(int64_t cols) {
  return cols * cols * static_cast<int64_t>(sizeof(double)) +
         cols * static_cast<int64_t>(sizeof(double));
}

void MomentSum::add_sequence(Matrix<const float> x, const Context& ctx) {
  TWOFOLD_ASSERT(x.cols == cols_);
  const std::vector<uint8_t> keep = usable_rows(x, ctx.pool);
  const int64_t kept = std::ranges::count(keep, uint8_t{1});
  AlignedBuffer<float> copy;
  if (kept < x.rows) {
    copy.ensure(static_cast<size_t>(kept * cols_));
    float* to = copy.data();
    for (int64_t r = 0; r < x.rows; ++r) {
      if (keep[static_cast<size_t>(r)] != 0) to = std::ranges::copy(x.row(r), to).out;
    }
    dropped_ += x.rows - kept;
    x = {copy.data(), kept, cols_};
  }
  tokens_ += kept;
  add_magnitudes(x, magnitude_, ctx.pool);
  add_gram(x, {h_.data(), cols_, cols_}, ctx.pool, ctx.isa);
}

SecondMoment MomentSum::mean() const& { return MomentSum(*this).mean(); }

SecondMoment MomentSum::mean() && {
  const double scale = tokens_ > 0 ? 1.0 / static_cast<double>(tokens_) : 0.0;
  for (double& x : h_) x *= scale;
  for (double& x : magnitude_) x *= scale;
  // Mirrors the upper triangle in squares that fit the cache.
  constexpr int64_t kSquare = 32;
  for (int64_t i = 0; i < cols_; i += kSquare) {
    for (int64_t j = i; j < cols_; j += kSquare) {
      for (int64_t r = i; r < std::min(i + kSquare, cols_); ++r) {
        for (int64_t c = std::max(j, r + 1); c < std::min(j + kSquare, cols_); ++c) {
          h_[static_cast<size_t>(c * cols_ + r)] = h_[static_cast<size_t>(r * cols_ + c)];
        }
      }
    }
  }
  return {.cols = cols_,
          .tokens = tokens_,
          .h = std::move(h_),
          .mean_magnitude = std::move(magnitude_)};
}

}  // namespace twofold
