// QuantizedMatrix: the meaning of a quantized weight matrix: codes and grid parameters, in the
// stored basis of its transform. It knows nothing of bytes on disk or of kernels. `dequantize`
// defines what every format and kernel must reproduce.
//
// Rule: every grid parameter is already rounded to the type it will be stored in (binary16 scales,
// integer levels), so packing loses nothing and integer kernels are exact. A scale shared by the
// whole matrix costs nothing and is stored as binary32: published per-tensor grids stay exact.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "quant/trellis_code.h"
#include "tensor/tensor.h"
#include "transform/transform.h"

namespace twofold {

/// How a code becomes a value.
enum class ValueKind {
  kAffine,  // scale (code - zero)
  kTable,   // scale level[code] 2^level_exponent + offset
  kTrellis  // scale level[index of the code] 2^level_exponent; codes are windows (trellis_code.h)
};
/// Who shares one set of parameters.
enum class Sharing { kMatrix, kRow, kGroup };
/// What the zero of kAffine is.
enum class ZeroKind {
  kUnsigned,   // stored integer, 0 to 255
  kSymmetric,  // fixed 2^(bits-1), not stored
  kCentered,   // fixed (2^bits - 1) / 2, not stored
  kFloat,      // stored binary16
};
/// Stored type of table levels.
enum class LevelType { kInt8, kInt16, kFloat32 };

struct Scheme {
  ValueKind kind = ValueKind::kAffine;
  int bits = 4;  // per weight; codes lie in [0, 2^code_bits()); 1 to 16, 2 to 8 in files
  Sharing scale_sharing = Sharing::kRow;     // who has a scale (and zero, offset)
  int64_t group = 0;                         // columns per group; > 0 only with kGroup
  ZeroKind zero = ZeroKind::kUnsigned;       // kAffine
  Sharing table_sharing = Sharing::kMatrix;  // kTable: who has its own levels
  LevelType level_type = LevelType::kInt8;   // kTable
  int level_exponent = 0;                    // of levels: common power of two, -64 to 64
  bool has_offset = false;                   // kTable
  // kTable of int8 levels: stored as bit planes. level[code] is the sum over bits i of the code of
  // n_i if it is set, else -n_i, for integers n_i >= 0 of the table.
  bool planes = false;
  int window = 0;  // kTrellis: bits of a window
  /// Bits of a code in memory.
  int code_bits() const { return kind == ValueKind::kTrellis ? window : bits; }
  friend bool operator==(const Scheme&, const Scheme&) = default;
};

struct QuantizedMatrix {
  Scheme scheme;
  int64_t rows = 0, cols = 0;
  std::vector<uint16_t> codes;  // [rows, cols]
  std::vector<float> scale;     // [parameter_sets(scale_sharing)], binary16 unless kMatrix
  std::vector<float> zero;      // kAffine with a stored zero: as scale
  std::vector<float> offset;    // kTable with has_offset: as scale, binary16 values
  std::vector<float> levels;    // kTable: [parameter_sets(table_sharing), 2^bits]; kTrellis: [64]
  TrellisMixing mixing{};       // kTrellis
  TransformSpec transform;

  /// Groups per row: 1 unless shared by group; the last may be shorter.
  int64_t groups() const;
  /// Number of parameter sets for `sharing`: 1, rows, or rows x groups (index row * groups + g).
  int64_t parameter_sets(Sharing sharing) const;
  /// Index of the parameter set of an entry.
  int64_t parameter_index(Sharing sharing, int64_t row, int64_t col) const;
  friend bool operator==(const QuantizedMatrix&, const QuantizedMatrix&) = default;
};

/// Checks sizes, code range, finiteness, that parameters are exactly storable, and that the windows
/// of a trellis are those of streams.
/// @throws Error(kInternal) naming what is wrong.
void validate(const QuantizedMatrix& q, ThreadPool& pool);
void validate(const QuantizedMatrix& q);  // by the calling thread alone

/// kTrellis: makes windows of codes that are symbols, bits k t to k t + k - 1 of their tile's
/// stream.
void link_symbols(QuantizedMatrix& q);

/// Values in the stored basis, out [rows, cols]. Each entry is computed in float32 exactly as
///   affine: scale * (float(code) - zero)
///   table:  scale * (level * 2^level_exponent) + offset   (product rounded, then the sum;
///                                                          no sum without has_offset)
///   trellis: as table, for the level of the code's index
void dequantize(const QuantizedMatrix& q, Matrix<float> out);

/// The zero of kSymmetric and kCentered: 2^(bits-1), (2^bits - 1) / 2.
float fixed_zero(ZeroKind kind, int bits);
/// Whether `kind` keeps a zero per parameter set.
bool zero_is_stored(ZeroKind kind);

/// `dequantize`, then the transform undone: the matrix the model will behave as.
void restore(const QuantizedMatrix& q, Matrix<float> out);

}  // namespace twofold
