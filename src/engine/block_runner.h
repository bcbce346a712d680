// BlockRunner: one transformer block by itself. Quantization runs the blocks one after the other on
// the hidden states of its samples, with the linears of a block replaced once they are quantized;
// no more than one block's weights are touched at a time. The same arithmetic as Model::forward.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "base/context.h"
#include "engine/model.h"
#include "formats/format.h"
#include "model/model_files.h"
#include "transform/transform.h"

namespace twofold {

class BlockRunner {
 public:
  /// Binds the tensors of block `layer`. @throws as Model::load.
  BlockRunner(const ModelFiles& files, int layer);
  ~BlockRunner();

  /// From now on the linear `slot` (Slot::slot) multiplies by `packed`, stored in the basis of
  /// `transform`; its bias stays.
  void replace(std::string_view slot, const PackedMatrix& packed, const TransformSpec& transform);

  /// Runs the block over one sequence from position 0, in place: stream [tokens, hidden].
  void run(Matrix<float> stream, const Context& ctx, const InputObserver& observer = {}) const;

  /// Shows `observer` the block's inputs up to and with the one called `last` (empty: all of them),
  /// and computes no more than that needs. `stream` [tokens, hidden] stays as it is.
  void observe(Matrix<const float> stream, std::string_view last, const Context& ctx,
               const InputObserver& observer) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Hidden states that enter block 0: ids [tokens] from position 0 -> stream [tokens, hidden].
/// @throws Error(kInvalidArgument) on an id outside the vocabulary.
void embed_sequence(const ModelFiles& files, std::span<const int32_t> ids, Matrix<float> stream,
                    const Context& ctx);

}  // namespace twofold
