// What grids share: settings that several have (one meaning each), and scales in their stored type.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/grid.h"

namespace twofold {

constexpr int kMaxPlanes = 4;

ParamSpec scale_per_param();     // "scale-per": tensor | row
ParamSpec eps_param();           // "eps": least scale
ParamSpec range_param();         // "range": LO,HI
ParamSpec scale_search_param();  // "scale-search": none | mse
ParamSpec storage_param();       // "storage": codes | planes

/// Who shares a scale: the choice of scale_per_param, or the group if there is one.
/// @throws Error(kInvalidArgument) if a scale per tensor is asked for together with groups.
Sharing scale_sharing(const GridRequest& request);

/// Grid::needed_bits of grids whose settings ask for none.
int bits_are_open(const Params& params);

/// Checks the bits against the grid's own and against Grid::needed_bits.
void check_bits(const Grid& grid, const GridRequest& request);

/// `scale` as it will be stored: binary32 for a whole matrix, else binary16. Below the normal
/// numbers of binary16 it is rounded up, so that a scale that is not zero stays so and no weight is
/// clipped because its scale lost digits.
/// @throws Error(kUnsupported) naming `where` and `row` if it is too large.
float stored_scale(float scale, Sharing sharing, std::string_view where, int64_t row);

/// Factors on a scale that is not the widest one: what feedback adds to weights may need more room.
inline constexpr std::array<float, 7> kExploreFactors = {0.8f,  0.9f, 1.0f, 1.12f,
                                                         1.25f, 1.4f, 1.6f};

/// Whether scales may be searched for: not with --explore off.
bool may_search(const Params& params);
/// ParamSpec::unread of settings of such a search.
std::string search_unread(const ParamUse& use);
/// Whether the choice of scale_search_param is carried out.
bool searches_scale(const Params& params);
/// Grid::importance_unread of grids that weigh errors in this search only.
std::string importance_unread_unless_searched(const Params& params);

/// Largest |w| of a row. @param row [n].
float max_magnitude(std::span<const float> row);

/// v H v^T of each row v, [rows].  @param value [rows, n].  @param h [n, n].
std::vector<double> value_squares(Matrix<const float> value, Matrix<const double> h, Isa isa);

/// A fitted grid whose parameters are those of a QuantizedMatrix without codes.
class ParameterGrid : public FittedGrid {
 public:
  int64_t group() const final { return q_.scheme.group; }
  Scheme scheme() const override { return q_.scheme; }
  int64_t rows_sharing() const override;
  void take_row(int64_t row, const FittedGrid& from) override;
  void values(int64_t col, int64_t row_begin, Matrix<const uint16_t> codes,
              Matrix<float> value) const override;
  /// By `propose`, of which each row keeps what lowers its loss.
  bool refit(const RefitProblem& problem, Matrix<float> value) final;
  QuantizedMatrix finish(std::vector<uint16_t> codes) && override;

 protected:
  ParameterGrid(Scheme scheme, int64_t rows, int64_t cols, std::string where);

  /// Parameter set of `row` for the group that column `col` is in.
  size_t set_of(int64_t row, int64_t col) const;
  /// `scale` as it would be stored without the factor of `rescaled`: what searches and zeros are
  /// fitted with, so that the factor changes nothing but the scale.
  float fitted_scale(float scale, int64_t row) const;
  /// A fitted scale times the factor of `rescaled`, as it will be stored: the same as fitting
  /// first and rescaling then.
  float store_scale(float fitted, int64_t row) const;
  /// The body of `rescaled`, called on the copy.
  void multiply_scales(float factor);

  /// Sets the parameters of all rows of a problem to what may have less loss. By itself: scales in
  /// closed form, where all values are the scale times something that stays.
  /// @param value [rows, n] the values of the codes so far.
  virtual void propose(const RefitProblem& problem, Matrix<const float> value);
  /// Called when the parameters of a set were put back.
  virtual void restored(size_t /*set*/) {}
  /// A positive scale as it is stored; nothing if it cannot be, or is none.
  std::optional<float> storable_scale(double scale, int64_t row) const;

  QuantizedMatrix q_;  // parameters are sized for the scheme; levels are empty
  float factor_ = 1;   // of `rescaled`
  std::string where_;  // named by errors: the matrix
};

}  // namespace twofold
