// Mlp: gate and up (or fc), activation, down: the MLP of a block, or one of its experts. Internal
// to this layer.
#pragma once

#include "base/aligned_buffer.h"
#include "engine/input_group.h"
#include "model/config.h"

namespace twofold {

struct Mlp {
  const InputGroup* in = nullptr;   // writes gate | up, or up
  const InputGroup* out = nullptr;  // one linear

  /// x [tokens, hidden] -> what `out` reads, [tokens, intermediate], in `wide`.
  Matrix<float> mid(const ModelConfig& config, Matrix<const float> x, AlignedBuffer<float>& wide,
                    const Context& ctx) const;
};

}  // namespace twofold
