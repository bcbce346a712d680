// Grids with a table of their own for each row or group:
//
//   value = scale (level 2^level_exponent) + offset,   int8 levels, binary16 scale and offset
//
// A grid derives from RowTableGrid and says which table suits the weights of one row or group; what
// is here stores it and finds the nearest value. Tables of binary coding are sums of signs times
// integers: level[code] = sum over i of (bit i of code ? n_i : -n_i), stored as such if the scheme
// says `planes`, else as sorted levels: the same values either way.
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "quant/grids/common.h"

namespace twofold {

constexpr int kLargestTableBits = 6;
constexpr int kLargestLevel = 127;  // in magnitude

/// A table before it is stored: value = step level + offset.
struct Table {
  double step = 0, offset = 0;
  std::array<int, kMaxPlanes> n = {};                   // binary coding: not negative, sum <= 127
  std::array<int, 1 << kLargestTableBits> levels = {};  // others: -127 to 127, increasing
};

/// A table as it is stored, of at most 2^kLargestTableBits codes:
/// value = scale (level 2^exponent) + offset.
struct StoredTable {
  float scale = 0, offset = 0;
  int exponent = 0;
  std::array<float, 1 << kLargestTableBits> levels = {};
};

class RowTableGrid : public ParameterGrid {
 public:
  std::span<const float> explore_factors() const final;
  void take_row(int64_t row, const FittedGrid& from) final;
  /// Nearest value; a tie goes to the smaller one.
  void round(int64_t col, int64_t row_begin, Matrix<const float> target, Matrix<uint16_t> codes,
             Matrix<float> value) const final;

 protected:
  struct Shape {
    int bits = 0;
    int64_t group = 0;
    int level_exponent = 0;  // the stored scale is step 2^-level_exponent: about the largest weight
    bool binary_coding = false;  // tables are given by n
    bool planes = false;         // and stored so
  };
  RowTableGrid(const Shape& shape, int64_t rows, int64_t cols, std::string where);

  /// Stores the table of a row or group.
  /// @throws Error(kUnsupported) naming the row if scale or offset do not fit binary16.
  void set_table(size_t set, int64_t row, const Table& table);
  /// The scale of a table as it will be stored, for grids that fit levels to it.
  double stored_step(double step, int64_t row) const;
  StoredTable stored_levels(size_t set) const;
  /// Sets the parameters as they are stored, in the order of the codes.
  void set_levels(size_t set, const StoredTable& table);
  void restored(size_t set) final { refresh(set); }
  /// Replaces the bounds between values, [2^bits - 1]: a target above bounds[i] is at least value
  /// i + 1 in increasing order.
  void set_bounds(size_t set, std::span<const double> bounds);
  /// The body of `rescaled`, called on the copy.
  void rescale(float factor);

 private:
  float stored_offset(double offset, int64_t row) const;
  /// Values, their order and the bounds halfway between, from the stored parameters.
  void refresh(size_t set);

  int64_t levels_;  // 2^bits
  bool binary_coding_;
  bool own_bounds_ = false;
  std::vector<float> values_;     // [sets, levels] increasing
  std::vector<float> bounds_;     // [sets, levels]: levels - 1 bounds, then infinity
  std::vector<uint8_t> code_of_;  // [sets, levels] code of each value
};

/// The bits, for which every code is a sum of `planes` integers with signs.
int plane_sum(std::span<const int> n, unsigned code);

}  // namespace twofold
