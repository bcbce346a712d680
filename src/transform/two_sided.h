// A transform with at most three parts: a scale vector at the input, a rotation of the input, a
// rotation of the output. V = R_in diag(scale), U = R_out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "transform/rotation.h"
#include "transform/transform.h"

namespace twofold {

/// @param scale  [cols] or empty.
/// @param input  of cols numbers, or null.  @param output  of rows numbers, or null.
std::unique_ptr<const PreparedTransform> make_two_sided(std::vector<float> scale,
                                                        std::unique_ptr<const Rotation> input,
                                                        std::unique_ptr<const Rotation> output);

/// Checks a scale vector of untrusted origin: empty, or [cols] numbers, finite and above 0.
/// @throws Error(kCorruptFile) naming the transform and what was found.
void check_input_scale(const TransformSpec& spec, int64_t cols, bool wanted);

/// Checks that `rotation`, drawn again from `seed`, is the one that the specification is of.
/// @throws Error(kCorruptFile) naming the transform, the side and both checksums.
void check_drawn(const Rotation& rotation, std::string_view transform, std::string_view side,
                 uint64_t seed, uint64_t checksum);

/// FNV-1a: `hash` (kChecksumStart at first) with the bytes of `bits` added, the lowest first.
inline constexpr uint64_t kChecksumStart = 0xcbf29ce484222325ull;
uint64_t add_to_checksum(uint64_t hash, uint32_t bits);

/// `value` as a scale that can be stored: binary16, normal, above 0.
float storable_scale(double value);

/// Sum of squares of each column over all matrices, [cols].
std::vector<double> column_energy(std::span<const Matrix<const float>> weights, int64_t cols);

}  // namespace twofold
