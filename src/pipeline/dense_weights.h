// Weights of a source as numbers: one matrix at a time in memory for solvers, or streamed a panel
// at a time into a safetensors file. Every number is checked to be finite on its way.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/aligned_buffer.h"
#include "base/context.h"
#include "io/safetensors.h"
#include "model/model_files.h"

namespace twofold {

/// The matrix of `slot` as float32, [slot.shape[0], slot.shape[1]].
/// @throws Error(kUnsupported) naming tensor, row and column of the first NaN or infinity.
AlignedBuffer<float> load_matrix(const Slot& slot, const Context& ctx);

/// Reads a matrix or vector of float or block type through. @throws Error(kUnsupported) as
/// load_matrix.
void check_finite(const Slot& slot, const Context& ctx);

/// The type in which a tensor that is not quantized is written: `wanted`, or else the stored one
/// where that is F32, F16 or BF16, and F16 for block types.
DType written_dtype(const Slot& slot, std::optional<DType> wanted = std::nullopt);

/// Name, type and shape under which `write_dense` writes: Hugging Face's name and orientation.
TensorPlan dense_plan(const Slot& slot, DType dtype);

/// Writes the tensor that `dense_plan` announced. Numbers are rounded to the nearest of `dtype`.
/// @throws Error(kUnsupported) on a number that is not finite, or too large for `dtype`.
void write_dense(const Slot& slot, DType dtype, SafetensorsWriter& out, const Context& ctx);

/// The fused tensor of a plain Hugging Face folder that `parts` are cut out of.
TensorPlan fused_plan(std::span<const Slot* const> parts, DType dtype);
/// Writes the tensor that `fused_plan` announced; errors as of `write_dense`.
void write_fused(std::span<const Slot* const> parts, DType dtype, SafetensorsWriter& out,
                 const Context& ctx);

}  // namespace twofold
