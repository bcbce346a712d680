// Method: a row of one table, transform + grid + rounding with defaults. Any part can be overridden
// by the caller, so combinations that no paper has can be tried.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "quant/grid.h"
#include "quant/rounding.h"
#include "transform/transform.h"

namespace twofold {

struct Method {
  std::string_view name, paper, help;
  std::string_view transform, grid, rounding;
  int default_bits;
  int64_t default_group;
  std::map<std::string, std::string> defaults;  // settings that differ from the parts' own
  bool needs_moment = false;  // its definition does, though none of its parts must
  // For matrices with a side below the width of the grid; empty: they are treated alike.
  std::string_view narrow = {};
};

std::span<const Method> all_methods();
const Method& find_method(std::string_view name);

/// A method with everything decided: what a recipe rule becomes and a report records.
struct MethodChoice {
  std::string method, transform, grid, rounding;
  int bits = 0;
  int64_t group = 0;
  Params params;     // of transform, grid and rounding together
  std::string note;  // what a user should know about it: why another method than asked for
  friend bool operator==(const MethodChoice&, const MethodChoice&) = default;
};

/// What the caller may say; empty = the method's own.
struct MethodRequest {
  std::string method;
  std::optional<int> bits = {};  // default: what the settings need (a range), then the method's own
  std::optional<int64_t> group = {};
  std::string transform = {}, grid = {}, rounding = {};
  std::map<std::string, std::string> params = {};
};

/// Completes and checks a request. @throws Error(kInvalidArgument) with the valid choices.
MethodChoice choose_method(const MethodRequest& request);
/// The same for a matrix [rows, cols]: by Method::narrow if a side is below Grid::width, at the
/// bits asked for or the nearest that it has, with the transform, the rounding and those settings
/// asked for that it reads.
MethodChoice choose_method(const MethodRequest& request, int64_t rows, int64_t cols);

/// Refuses settings of a request that have an effect only where second moments are known, which
/// here they are not. @param why they are not. A request that cannot do without them is not the
/// matter here. @throws Error(kInvalidArgument) naming setting and method.
void check_without_moment(const MethodRequest& request, std::string_view why);

/// Whether a choice cannot be carried out without second moments.
bool needs_moment(const MethodChoice& choice);

/// Whether, without a moment, the solution of a matrix is those of its chunks of kRowChunk rows,
/// one below the other: rows are in no other's basis and share no parameters.
bool rows_are_independent(const MethodChoice& choice, int64_t cols);

/// The grid of a choice for a matrix [rows, cols], not fitted. @param where named by errors.
std::unique_ptr<FittedGrid> make_grid(const MethodChoice& choice, int64_t rows, int64_t cols,
                                      std::string_view where = {}, Isa isa = Isa::kScalar);

/// The scheme that `solve` will return for a matrix [rows, cols], but for level_exponent.
/// @throws Error(kInvalidArgument | kUnsupported) if its parts cannot treat this shape.
Scheme scheme_for(const MethodChoice& choice, int64_t rows, int64_t cols);

/// All settings of all parts, once each: the source of command line flags and documentation.
std::vector<ParamSpec> all_param_specs();

/// One layer input and the matrices that read it.
struct InputProblem {
  const SecondMoment* moment = nullptr;      // null: not known, for data-free methods
  std::vector<Matrix<const float>> weights;  // [out_i, in], finite
  uint64_t seed = 0;
  std::string_view name = {};
};

/// What matrices that read one input share: the input side of the transform, the second moment in
/// the stored basis and its factors. Immutable.
class PreparedInput;

/// @throws Error(kInvalidArgument) if a needed moment is missing, Error(kUnsupported) on a weight
/// or moment that is not finite.
std::shared_ptr<const PreparedInput> prepare_input(const MethodChoice& choice,
                                                   const InputProblem& problem, const Context& ctx);

struct Problem {
  Matrix<const float> weight;            // [out, in]
  const SecondMoment* moment = nullptr;  // of its input; null for data-free methods
  uint64_t seed = 0;
  std::string_view input_name = {}, matrix_name = {};
  bool known_finite = false;  // the caller checked every weight: `solve` does not do it again
};

struct Solution {
  QuantizedMatrix q;
  /// tr(E H E^T) / tr(W H W^T), E = restore(q) - W; H = identity without a moment.
  double proxy_loss = 0;
  double loss = 0, energy = 0;  // what it is the ratio of
  double explore_seconds = 0;   // spent on trying more grids inside the loop
  std::vector<std::string> notes;
};

/// Quantizes one matrix of a prepared input. Pure: the result depends on the arguments only, not on
/// threads. `problem.moment` must be the one `input` was prepared with.
Solution solve(const MethodChoice& choice, const PreparedInput& input, const Problem& problem,
               const Context& ctx);

/// What rounding is expected to do to a matrix, without rounding it: out [rows, cols] = W + E. In
/// the stored basis each error is drawn from a normal distribution with `distortion` times the mean
/// square of its row as variance. With feedback, column j of E R is that times R_jj, where R is the
/// factor of the moment (arXiv:2307.13304, Sec. 3.2); without it, of E.
/// @param problem with a moment.  @throws Error as `solve`.
void add_expected_error(const MethodChoice& choice, const Problem& problem, double distortion,
                        const Context& ctx, Matrix<float> out);

/// `prepare_input` for this matrix alone, then `solve`. Pure: the result depends on the arguments
/// only, not on threads.
/// @throws Error(kInvalidArgument) if a needed moment is missing, Error(kUnsupported) on a weight
/// that is not finite (row and column named).
Solution solve(const MethodChoice& choice, const Problem& problem, const Context& ctx);

}  // namespace twofold
