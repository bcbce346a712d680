// Embedding: the tables that turn ids into the hidden states that enter the first block.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "engine/linear.h"
#include "engine/norm.h"

namespace twofold {

class Embedding {
 public:
  /// @throws Error(kUnsupported) if a table is not stored in the model's own basis.
  explicit Embedding(const ModelFiles& files);
  const Linear& tokens() const { return *tokens_; }
  /// ids at positions first, first + 1, ... -> x [ids, hidden].
  /// @throws Error(kInvalidArgument) on an id outside the vocabulary.
  void look_up(std::span<const int32_t> ids, int64_t first, Matrix<float> x,
               const Context& ctx) const;

 private:
  void look_up_tokens(std::span<const int32_t> ids, Matrix<float> x) const;

  const ModelConfig& config_;
  std::unique_ptr<Linear> tokens_;
  std::unique_ptr<Linear> positions_;   // null: the blocks know positions instead
  std::unique_ptr<Linear> project_in_;  // null: the table is as wide as the stream
  std::optional<Norm> norm_;
};

}  // namespace twofold
