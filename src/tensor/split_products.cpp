#include <algorithm>
#include <cstring>

#include "base/checked_math.h"
#include "tensor/block_products.h"

namespace twofold {
namespace {

constexpr int64_t kSide = SplitTiles::kSide;
constexpr int64_t kHeaderFloats = 16;  // a line
constexpr int64_t kTileFloats = SplitTiles::kTileRows * kSide / 2;
constexpr int32_t kMostParts = 3;
// A prepared block of 256 x 640 numbers takes 0.9 MB of the second-level cache.
// Preparing it takes as long as about two panels, so a group has many: 32 MB.
constexpr ProductCuts kCuts = {.panel_cols = kSide,
                               .row_unit = kSide,
                               .chunk_rows = 256,
                               .depth = 640,
                               .depth_unit = kSide,
                               .group_floats = int64_t{1} << 23};

int64_t steps_of(int64_t cols) { return ceil_div(cols, kSide); }

class SplitProducts final : public BlockProducts {
 public:
  explicit SplitProducts(const SplitTiles& tiles) : BlockProducts(kCuts), tiles_(tiles) {}

  std::string_view arithmetic() const override { return "float32 as three bfloat16 in AMX tiles"; }

  int64_t panel_floats(int64_t cols) const override {
    return kHeaderFloats + steps_of(cols) * SplitTiles::kStepFloats;
  }

  void pack(Matrix<const float> w, int64_t first, float* panel) const override {
    const int64_t tile = first / SplitTiles::kTileRows;
    const int32_t parts = tiles_.split_right(w.data, w.stride, w.rows, w.cols,
                                             panel + kHeaderFloats + tile * kTileFloats);
    std::memcpy(panel + tile, &parts, sizeof(parts));
  }

  void pack_columns(Matrix<const float> x, float* panel) const override {
    for (int64_t tile = 0; tile < 2; ++tile) {
      const int64_t begin = tile * SplitTiles::kTileRows;
      const int64_t cols = std::clamp<int64_t>(x.cols - begin, 0, SplitTiles::kTileRows);
      tiles_.split_columns(x.data + begin, x.stride, x.rows, cols,
                           panel + kHeaderFloats + tile * kTileFloats);
      std::memcpy(panel + tile, &kMostParts, sizeof(kMostParts));
    }
  }

  bool reads_in_place(Matrix<const float>) const override { return false; }

  int64_t left_stride(int64_t depth) const override {
    return steps_of(depth) * SplitTiles::kStepFloats / kSide;
  }

  void prepare(Matrix<const float> x, float* left) const override {
    for (int64_t r = 0; r < x.rows; r += kSide) {
      tiles_.split_left(x.data + r * x.stride, x.stride, std::min(kSide, x.rows - r), x.cols,
                        left + r * left_stride(x.cols));
    }
  }

  void multiply(const LeftBlock& left, const float* panels, int64_t k, int64_t cols,
                Matrix<float> y, bool accumulate) const override {
    const int64_t floats = panel_floats(cols);
    tiles_.begin();
    for (int64_t c = 0; c < y.cols; c += kSide) {
      const float* panel = panels + c / kSide * floats;
      int32_t parts[2];
      std::memcpy(parts, panel, sizeof(parts));
      const Matrix<float> out = columns_of(y, c, kSide);
      const float* right = panel + kHeaderFloats + k / kSide * SplitTiles::kStepFloats;
      tiles_.multiply(left.data, left.stride * kSide, left.rows, right, steps_of(left.depth),
                      std::max({parts[0], parts[1], 1}), out.data, out.stride, out.cols, accumulate,
                      c + kSide < y.cols ? right + floats : nullptr);
    }
    tiles_.end();
  }

 private:
  const SplitTiles& tiles_;
};

}  // namespace

std::unique_ptr<const BlockProducts> split_products(const SplitTiles& tiles) {
  return std::make_unique<SplitProducts>(tiles);
}

}  // namespace twofold
