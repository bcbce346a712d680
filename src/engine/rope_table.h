// RopeTable: the angles of rotary positions, for every rope of a model.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "model/config.h"
#include "tensor/tensor.h"

namespace twofold {

/// Cosines and sines, a row per position.
class RopeTable {
 public:
  /// Appends rows for positions first, first + 1, ... @param frequencies as rope_frequencies gives
  /// them, as many at every call. @param factor of cosines and sines. @return the row of the first.
  int64_t add(int64_t first, int64_t count, std::span<const float> frequencies, double factor = 1);
  /// Rotates the first 2 x frequencies numbers of each head of x [tokens, heads * head_dim], token
  /// i by the angles of row first_row + i.
  void apply(int64_t head_dim, Matrix<float> x, int64_t first_row) const;

 private:
  int64_t pairs_ = 0;
  std::vector<float> cos_, sin_;  // [rows, pairs_]
};

/// The ropes of a model, made once: none if positions do not rotate.
class Ropes {
 public:
  explicit Ropes(const ModelConfig& config);
  /// True if angles depend on how long the sequence may become (LongRoPE).
  bool depend_on_length() const;

 private:
  friend class RopeTables;
  struct Rope {
    RopeConfig config;
    std::vector<float> frequencies, long_frequencies;
  };
  std::vector<Rope> ropes_;  // main, local
};

/// The tables of a pass through the layers of one model, for each of its ropes.
class RopeTables {
 public:
  /// Keeps a reference to `ropes`.
  explicit RopeTables(const Ropes& ropes) : ropes_(ropes), tables_(ropes.ropes_.size()) {}
  /// Appends a row to every table. @param most positions that the sequence may come to have:
  /// LongRoPE has other factors for long ones. @return the row of the first.
  int64_t add(int64_t first, int64_t count, int64_t most);
  /// Of the rope of a layer; null: it has none.
  const RopeTable* find(LayerRope rope) const;
  const Ropes& ropes() const { return ropes_; }

 private:
  const Ropes& ropes_;
  std::vector<RopeTable> tables_;  // main, local
};

}  // namespace twofold
