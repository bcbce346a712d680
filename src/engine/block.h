// Block: the arithmetic of one transformer block.
// Internal to this layer: Model runs all blocks over batches, BlockRunner one over calibration
// sequences. A block keeps no copy of weights; its files must outlive it. Immutable but for
// `replace`; the scratch memory of a call is the caller's BlockBuffers.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/context.h"
#include "engine/attention.h"
#include "engine/experts.h"
#include "engine/input_group.h"
#include "engine/kv_cache.h"
#include "engine/mlp.h"
#include "engine/model.h"
#include "engine/norm.h"
#include "engine/rope_table.h"
#include "model/model_files.h"
#include "tensor/tensor.h"

namespace twofold {

/// One sequence of a pass: `count` rows of the stream, after what `cache` holds, if there is one.
struct SequenceRows {
  int64_t count = 0;
  KvCache* cache = nullptr;
  int64_t rope_row = 0;  // row of the tables in BlockPass::ropes of its first token
  int64_t past() const { return cache != nullptr ? cache->length() : 0; }
  /// Positions it will come to have, as far as is known.
  int64_t most() const {
    return cache != nullptr ? std::max(cache->expected(), past() + count) : count;
  }
};

/// What all blocks of a pass share.
struct BlockPass {
  std::vector<SequenceRows> sequences;  // their rows lie one after the other
  int64_t tokens = 0;                   // rows in all
  const RopeTables* ropes = nullptr;
};

/// Scratch memory of a pass, kept from block to block. Attention and MLP take turns in `wide`, an
/// input and what its linears add to the stream in `narrow`; with parallel residuals the input of
/// the MLP waits in `second`.
struct BlockBuffers {
  AlignedBuffer<float> narrow, second, wide;
  ExpertBuffers experts;
  void ensure(const ModelConfig& config, int64_t tokens);
};

class Block {
 public:
  /// Binds block `layer`. @throws as Model::load.
  Block(const ModelFiles& files, int layer);

  /// Bytes of the matrices that one token reads; of experts the share that is chosen for it.
  int64_t stored_bytes() const;
  /// The linear in slot `slot` multiplies by `packed` from now on; its bias stays.
  /// @throws Error(kInvalidArgument) if the block has no such linear of this shape.
  void replace(std::string_view slot, const PackedMatrix& packed, const TransformSpec& transform);
  /// Name of the input that the last linear reads. The inputs in order: attention in, attention
  /// out, MLP in, MLP out; of experts: router, all experts' in, all experts' out.
  const std::string& last_input() const { return groups_.back()->input; }
  bool has_input(std::string_view input) const;

  /// Runs the block in place: x [pass.tokens, hidden]. With `stop_at`, stops once `observer` has
  /// seen that input; x then holds what the block had added so far.
  void run(const BlockPass& pass, Matrix<float> x, BlockBuffers& buffers, const Context& ctx,
           const InputObserver& observer, std::string_view stop_at = {}) const;

 private:
  void add_linear(const Slot& slot, const Slot* bias);
  void bind_groups();
  void enter(const std::optional<Norm>& norm, Matrix<float> x, Matrix<float> branch,
             const Context& ctx) const;
  void leave(const std::optional<Norm>& norm, const std::optional<Norm>& branch_norm,
             Matrix<float> branch, Matrix<float> x, const Context& ctx) const;
  bool run_attention(const BlockPass& pass, Matrix<float> narrow, BlockBuffers& buffers,
                     const InputWatch& watch, const Context& ctx) const;
  bool run_mlp(Matrix<float> narrow, BlockBuffers& buffers, const InputWatch& watch,
               const Context& ctx) const;
  void attend(const BlockPass& pass, float* qkv, float* attended, const Context& ctx) const;
  void place(const BlockPass& pass, const SequenceRows& sequence, int64_t begin, Matrix<float> qkv,
             Isa isa) const;

  const ModelFiles& files_;
  int layer_;
  LayerConfig kind_;
  std::vector<float> slopes_;                                // [heads] of ALiBi, or empty
  std::optional<Norm> attention_norm_, mlp_norm_;            // of the stream
  std::optional<Norm> attention_post_norm_, mlp_post_norm_;  // of what a branch adds
  std::optional<Norm> q_norm_, k_norm_;
  std::vector<std::unique_ptr<InputGroup>> groups_;  // in the order in which they read
  const InputGroup* attention_in_ = nullptr;         // writes q | k | v
  const InputGroup* attention_out_ = nullptr;        // one linear
  Mlp mlp_;                                          // of a block without experts
  std::optional<Experts> experts_;
};

}  // namespace twofold
