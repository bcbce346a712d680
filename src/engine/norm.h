// Norms of the stream, of what branches add to it, and of queries and keys.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "model/model_files.h"
#include "tensor/tensor.h"

namespace twofold {

struct Norm {
  std::vector<float> weight, bias;  // [width]; bias may be empty
};
/// The norm in slot `slot` ("final_norm") and its bias, if there is one. Of a family whose norms
/// have weights, in a model whose norms have none: ones. Nothing if the family has no such norm.
std::optional<Norm> read_norm(const ModelFiles& files, const std::string& slot);
/// y = norm of each row of x [tokens, width]; y may be x. A norm narrower than the rows, whose
/// width divides theirs, is that of every head.
void norm_rows(const ModelConfig& config, const Norm& norm, Matrix<const float> x, Matrix<float> y,
               const Context& ctx);
/// The same by the calling thread alone.
void norm_rows_serial(const ModelConfig& config, const Norm& norm, Matrix<const float> x,
                      Matrix<float> y, Isa isa);

/// Rows that one work item of a row by row operation takes.
inline constexpr int64_t kRowsPerItem = 16;

/// Calls body(begin, end) over chunks of rows, in parallel if there are enough of them.
template <class Body>
void for_rows(int64_t rows, const Context& ctx, const Body& body) {
  if (rows <= kRowsPerItem) {
    body(int64_t{0}, rows);
    return;
  }
  ctx.pool.run_static((rows + kRowsPerItem - 1) / kRowsPerItem,
                      [&](int64_t begin, int64_t end, int) {
                        body(begin * kRowsPerItem, std::min(end * kRowsPerItem, rows));
                      });
}

}  // namespace twofold
