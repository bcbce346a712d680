// A matrix whose rows can be solved by themselves, from the file to packed bytes a chunk of rows at
// a time: numbers and codes of a chunk stay in the cache, and the whole matrix is never in memory.
#pragma once

#include "base/context.h"
#include "formats/format.h"
#include "model/model_files.h"
#include "quant/method.h"

namespace twofold {

/// What is left of a Solution when its codes are packed.
struct PackedSolution {
  PackedMatrix packed;
  TransformSpec transform;
  double proxy_loss = 0;  // as in Solution
  double explore_seconds = 0;
  std::vector<std::string> notes;
};

PackedSolution pack_solution(Solution solution, ThreadPool& pool);

/// `load_matrix`, `solve` without a moment and `pack` of the matrix of `slot`: the same bytes, loss
/// and errors.  @param choice one of which `rows_are_independent` holds.
PackedSolution solve_by_rows(const MethodChoice& choice, const Slot& slot, uint64_t seed,
                             const Context& ctx);

}  // namespace twofold
