// The rows of a comparison as the command line says them:
//   METHOD[:BITS][:KEY=VALUE,...]      gptq   gptq:3   gptq:3:group=64,order=diagonal
// KEY is group, grid, transform, rounding, or a setting of the parts. Several rows are separated by
// commas: a piece that starts with a method's name begins a row, any other goes on with the last.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/recipe.h"

namespace twofold {

/// One quantization of a comparison.
struct CompareRow {
  std::string name;    // as above, with the bits: "gptq:3:group=64"
  std::string series;  // without the bits: rows of one curve
  Recipe recipe;
};

/// The rows that `lists` ask for. A row without BITS stands for one row per entry of `bits`, or, if
/// that is empty, for one with the bits of the method. `tables` says what becomes of head and
/// embeddings; its block is not used.
/// @throws Error(kInvalidArgument) naming the row: unknown method, setting or bits, or a row that
/// is asked for twice.
std::vector<CompareRow> parse_compare_rows(std::span<const std::string> lists,
                                           std::span<const double> bits, const RecipeFlags& tables);

}  // namespace twofold
