// InputGroup: the linears of a block that read one input, and the watch that is kept on inputs.
// Internal to this layer.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "engine/linear.h"
#include "engine/model.h"
#include "tensor/tensor.h"

namespace twofold {

/// Linears that read one input and write side by side into one row of outputs.
struct InputGroup {
  std::string input;               // Slot::input
  Role role = Role::kMlpIn;        // of the linears
  int64_t expert = -1;             // Slot::expert
  std::vector<std::string> slots;  // Slot::slot of each linear
  std::vector<std::unique_ptr<Linear>> linears;
  bool one_basis = true;  // the basis of the first serves all; found again when one changes

  void find_basis();
  /// Outputs of all linears.
  int64_t width() const;
  /// x [tokens, in] -> y [tokens, width()]. What the linears share of their input is made once.
  void apply(Matrix<const float> x, Matrix<float> y, const Context& ctx) const;
};

/// Who sees the inputs of a pass, and the last one that is wanted.
struct InputWatch {
  const InputObserver& observer;  // may be empty
  std::string_view stop_at;       // Slot::input; empty: nothing stops

  bool stops_at(const InputGroup& group) const {
    return !stop_at.empty() && group.input == stop_at;
  }
  /// Shows the input to the observer. @return true if nothing after it is wanted.
  bool show(const InputGroup& group, Matrix<const float> x) const;
};

}  // namespace twofold
