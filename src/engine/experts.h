// Experts: the MLP of a block as a mixture of experts (arXiv:2101.03961, Sec. 2; with several
// experts per token arXiv:2401.04088, Sec. 2.1). A router gives each token its experts; what they
// make of it is summed with the router's weights. Internal to this layer.
#pragma once

#include <vector>

#include "base/aligned_buffer.h"
#include "engine/mlp.h"

namespace twofold {

/// Scratch memory of a pass.
struct ExpertBuffers {
  AlignedBuffer<float> logits;    // [tokens, experts]
  AlignedBuffer<float> gathered;  // [tokens of one expert, hidden]
  AlignedBuffer<float> sum;       // [tokens, hidden]
};

/// Which rows of a pass go to which expert.
struct Routes {
  struct Row {
    int64_t row;
    float weight;
  };
  std::vector<Row> rows;       // expert after expert, of each in order
  std::vector<int64_t> begin;  // [experts + 1] in `rows`

  std::span<const Row> of(int64_t expert) const {
    const auto e = static_cast<size_t>(expert);
    return std::span(rows).subspan(static_cast<size_t>(begin[e]),
                                   static_cast<size_t>(begin[e + 1] - begin[e]));
  }
};

/// The experts of each row: softmax of its logits in float32, the `experts_per_token` largest (of
/// equal ones the first), scaled to sum to 1 if the configuration says so.
/// @param logits [rows, experts]; overwritten.
Routes route_rows(const ModelConfig& config, Matrix<float> logits, const Context& ctx);

class Experts {
 public:
  /// @param router reads what the MLP reads; all must outlive this.
  Experts(const ModelConfig& config, const InputGroup* router, std::vector<Mlp> experts)
      : config_(config), router_(router), experts_(std::move(experts)) {}

  /// x [tokens, hidden], the MLP's input, is replaced by what the experts add. Experts run one
  /// after the other and add in that order, so that results do not depend on threads. Inputs are
  /// shown in this order: the router's, those of the experts, what each expert's last linear
  /// reads; of an expert without tokens none.
  /// @return true if stopped.
  bool run(Matrix<float> x, ExpertBuffers& buffers, AlignedBuffer<float>& wide,
           const InputWatch& watch, const Context& ctx) const;

 private:
  bool show_inputs(const Routes& routes, Matrix<const float> x, ExpertBuffers& buffers,
                   const InputWatch& watch, const Context& ctx) const;

  const ModelConfig& config_;
  const InputGroup* router_;
  std::vector<Mlp> experts_;
};

}  // namespace twofold
