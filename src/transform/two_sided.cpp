#include "transform/two_sided.h"

#include <algorithm>
#include <cmath>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "base/float16.h"

namespace twofold {
namespace {

/// Columns that are gathered at once, so that an operation on rows can be applied to columns.
constexpr int64_t kColumns = 64;

/// Calls op on the transpose of w, some columns at a time.
template <class Op>
void on_columns(Matrix<float> w, const Op& op) {
  AlignedBuffer<float> buffer(static_cast<size_t>(std::min(kColumns, w.cols) * w.rows));
  for (int64_t begin = 0; begin < w.cols; begin += kColumns) {
    const int64_t count = std::min(kColumns, w.cols - begin);
    const Matrix<float> columns(buffer.data(), count, w.rows);
    for (int64_t r = 0; r < w.rows; ++r) {
      for (int64_t c = 0; c < count; ++c) columns.at(c, r) = w.at(r, begin + c);
    }
    op(columns);
    for (int64_t r = 0; r < w.rows; ++r) {
      for (int64_t c = 0; c < count; ++c) w.at(r, begin + c) = columns.at(c, r);
    }
  }
}

/// m = m^T in place, m square, in tiles that fit the first cache.
void transpose(Matrix<double> m) {
  constexpr int64_t kTile = 32;
  for (int64_t i = 0; i < m.rows; i += kTile) {
    for (int64_t j = i; j < m.cols; j += kTile) {
      for (int64_t r = i; r < std::min(i + kTile, m.rows); ++r) {
        for (int64_t c = std::max(j, r + 1); c < std::min(j + kTile, m.cols); ++c) {
          std::swap(m.at(r, c), m.at(c, r));
        }
      }
    }
  }
}

/// m = (m + m^T) / 2.
void symmetrize(Matrix<double> m) {
  for (int64_t r = 0; r < m.rows; ++r) {
    for (int64_t c = r + 1; c < m.cols; ++c) {
      m.at(r, c) = m.at(c, r) = 0.5 * (m.at(r, c) + m.at(c, r));
    }
  }
}

void multiply_columns(Matrix<float> x, const std::vector<float>& factor) {
  for (int64_t r = 0; r < x.rows; ++r) {
    float* row = x.row(r).data();
    for (int64_t c = 0; c < x.cols; ++c) row[c] *= factor[static_cast<size_t>(c)];
  }
}

class TwoSided final : public PreparedTransform {
 public:
  TwoSided(std::vector<float> scale, std::unique_ptr<const Rotation> input,
           std::unique_ptr<const Rotation> output)
      : scale_(std::move(scale)), input_(std::move(input)), output_(std::move(output)) {}

  void apply_weight(Matrix<float> weight) const override {
    if (!scale_.empty()) {
      for (int64_t r = 0; r < weight.rows; ++r) {
        for (int64_t c = 0; c < weight.cols; ++c) {
          weight.at(r, c) /= scale_[static_cast<size_t>(c)];
        }
      }
    }
    if (input_ != nullptr) input_->apply(weight, Isa::kScalar);
    if (output_ != nullptr) {
      on_columns(weight, [&](Matrix<float> x) { output_->apply(x, Isa::kScalar); });
    }
  }

  void undo_weight(Matrix<float> weight) const override {
    if (output_ != nullptr) {
      on_columns(weight, [&](Matrix<float> x) { output_->undo(x, Isa::kScalar); });
    }
    if (input_ != nullptr) input_->undo(weight, Isa::kScalar);
    if (!scale_.empty()) multiply_columns(weight, scale_);
  }

  void apply_moment(Matrix<double> moment) const override {
    if (!scale_.empty()) {
      for (int64_t r = 0; r < moment.rows; ++r) {
        const double of_row = scale_[static_cast<size_t>(r)];
        for (int64_t c = 0; c < moment.cols; ++c) {
          moment.at(r, c) *= of_row * static_cast<double>(scale_[static_cast<size_t>(c)]);
        }
      }
    }
    if (input_ == nullptr) return;
    input_->apply(moment);  // H R^T
    transpose(moment);      // R H: H is symmetric
    input_->apply(moment);
    symmetrize(moment);
  }

  void apply_input(Matrix<float> x, Isa isa) const override {
    if (!scale_.empty()) multiply_columns(x, scale_);
    if (input_ != nullptr) input_->apply(x, isa);
  }

  void undo_output(Matrix<float> y, Isa isa) const override {
    if (output_ != nullptr) output_->undo(y, isa);
  }

 private:
  std::vector<float> scale_;  // [cols] or empty
  std::unique_ptr<const Rotation> input_, output_;
};

}  // namespace

std::unique_ptr<const PreparedTransform> make_two_sided(std::vector<float> scale,
                                                        std::unique_ptr<const Rotation> input,
                                                        std::unique_ptr<const Rotation> output) {
  return std::make_unique<TwoSided>(std::move(scale), std::move(input), std::move(output));
}

void check_input_scale(const TransformSpec& spec, int64_t cols, bool wanted) {
  const std::string where = fmt::format("transform '{}'", spec.name);
  const int64_t expected = wanted ? cols : 0, found = static_cast<int64_t>(spec.input_scale.size());
  if (expected != found) {
    fail(ErrorCode::kCorruptFile, where, "expected {} numbers in its scale vector, found {}",
         expected, found);
  }
  for (int64_t c = 0; c < found; ++c) {
    const float value = spec.input_scale[static_cast<size_t>(c)];
    if (!std::isfinite(value) || value <= 0) {
      fail(ErrorCode::kCorruptFile, where, "expected scales above 0, found {} for column {}", value,
           c);
    }
  }
}

void check_drawn(const Rotation& rotation, std::string_view transform, std::string_view side,
                 uint64_t seed, uint64_t checksum) {
  if (rotation.checksum() == checksum) return;
  fail(ErrorCode::kCorruptFile, fmt::format("transform '{}'", transform),
       "expected numbers of the {} side with checksum {:016x}, drew {:016x} from seed {}", side,
       checksum, rotation.checksum(), seed);
}

uint64_t add_to_checksum(uint64_t hash, uint32_t bits) {
  for (int byte = 0; byte < 4; ++byte) {
    hash = (hash ^ ((bits >> (8 * byte)) & 0xffu)) * 0x100000001b3ull;
  }
  return hash;
}

float storable_scale(double value) {
  return round_to_float16(static_cast<float>(std::clamp(value, 0x1p-14, 65504.0)));
}

std::vector<double> column_energy(std::span<const Matrix<const float>> weights, int64_t cols) {
  std::vector<double> energy(static_cast<size_t>(cols), 0.0);
  for (const Matrix<const float>& w : weights) {
    for (int64_t r = 0; r < w.rows; ++r) {
      const std::span<const float> row = w.row(r);
      for (size_t c = 0; c < energy.size(); ++c) {
        energy[c] += static_cast<double>(row[c]) * static_cast<double>(row[c]);
      }
    }
  }
  return energy;
}

}  // namespace twofold
