#include "quant/quantized_matrix.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/checked_math.h"
#include "base/error.h"
#include "base/float16.h"
#include "quant/dequantize_rows.h"

namespace twofold {
namespace {

constexpr std::string_view kWhere = "quantized matrix";

void check_count(std::string_view what, size_t found, int64_t expected) {
  if (static_cast<int64_t>(found) != expected) {
    fail(ErrorCode::kInternal, kWhere, "expected {} {}, found {}", expected, what, found);
  }
}

/// Calls body(begin, end) for pieces of `count` numbers.
template <class Body>
void for_pieces(ThreadPool& pool, size_t count, const Body& body) {
  constexpr size_t kPiece = size_t{1} << 16;
  pool.run(static_cast<int64_t>((count + kPiece - 1) / kPiece), [&](int64_t item, int /*worker*/) {
    const size_t begin = static_cast<size_t>(item) * kPiece;
    body(begin, std::min(count, begin + kPiece));
  });
}

void check_binary16(std::string_view what, const std::vector<float>& values, ThreadPool& pool) {
  for_pieces(pool, values.size(), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      if (!std::isfinite(values[i]) || round_to_float16(values[i]) != values[i]) {
        fail(ErrorCode::kInternal, kWhere, "{} {} is {}: not a finite binary16 number", what, i,
             values[i]);
      }
    }
  });
}

bool storable(LevelType type, float level) {
  switch (type) {
    case LevelType::kInt8:
      return level == std::nearbyint(level) && level >= -128 && level <= 127;
    case LevelType::kInt16:
      return level == std::nearbyint(level) && level >= -32768 && level <= 32767;
    case LevelType::kFloat32:
      return std::isfinite(level);
  }
  return false;
}

void check_scheme(const Scheme& scheme) {
  const bool trellis = scheme.kind == ValueKind::kTrellis;
  if (trellis != is_trellis(scheme.bits, scheme.window) ||
      (trellis &&
       (scheme.scale_sharing != Sharing::kRow || scheme.has_offset || scheme.planes ||
        scheme.table_sharing != Sharing::kMatrix || scheme.level_type != LevelType::kInt8))) {
    fail(ErrorCode::kInternal, kWhere, "{} bits with windows of {} bits are no trellis",
         scheme.bits, scheme.window);
  }
  if (scheme.bits < 1 || scheme.bits > 16) {
    fail(ErrorCode::kInternal, kWhere, "{} bits are not 1 to 16", scheme.bits);
  }
  const bool grouped =
      scheme.scale_sharing == Sharing::kGroup ||
      (scheme.kind == ValueKind::kTable && scheme.table_sharing == Sharing::kGroup);
  if (grouped != (scheme.group > 0) || scheme.group < 0) {
    fail(ErrorCode::kInternal, kWhere, "group {} does not fit its sharing", scheme.group);
  }
  if (scheme.level_exponent < -64 || scheme.level_exponent > 64) {
    fail(ErrorCode::kInternal, kWhere, "level exponent {} is not -64 to 64", scheme.level_exponent);
  }
}

/// Levels of planes: each the sum of its signs times the integers that the table implies.
void check_planes(const QuantizedMatrix& q) {
  const size_t count = size_t{1} << q.scheme.bits;
  if (q.scheme.bits > 4 || q.scheme.level_type != LevelType::kInt8 ||
      q.scheme.kind != ValueKind::kTable) {
    fail(ErrorCode::kInternal, kWhere, "planes need a table of int8 levels and at most 4 bits");
  }
  for (size_t table = 0; table < q.levels.size(); table += count) {
    const float* levels = q.levels.data() + table;
    for (size_t code = 0; code < count; ++code) {
      float sum = 0;
      for (size_t p = 0; p < static_cast<size_t>(q.scheme.bits); ++p) {
        const float n = (levels[size_t{1} << p] - levels[0]) / 2;
        sum += n < 0 || n != std::nearbyint(n) ? NAN : (code >> p & 1u) != 0 ? n : -n;
      }
      if (sum != levels[code] || sum > 127) {
        fail(ErrorCode::kInternal, kWhere, "level {} of a table is {}: no sum of its planes", code,
             levels[code]);
      }
    }
  }
}

void check_codes(const QuantizedMatrix& q, ThreadPool& pool) {
  const uint32_t bound = 1u << q.scheme.code_bits();
  for_pieces(pool, q.codes.size(), [&](size_t begin, size_t end) {
    uint16_t all = 0;
    for (size_t i = begin; i < end; ++i) all |= q.codes[i];
    if (all < bound) return;  // the bound is a power of two
    for (size_t i = begin; i < end; ++i) {
      if (q.codes[i] >= bound) {
        fail(ErrorCode::kInternal, kWhere, "code {} is {}, not below {}", i, q.codes[i], bound);
      }
    }
  });
}

/// Windows are those of a stream, with zeros outside the matrix.
void check_windows(const QuantizedMatrix& q, ThreadPool& pool) {
  const auto symbol = static_cast<uint16_t>((1u << q.scheme.bits) - 1);
  pool.run(ceil_div(q.rows, kTrellisTile), [&](int64_t block, int /*worker*/) {
    for (int64_t tile = 0; tile < ceil_div(q.cols, kTrellisTile); ++tile) {
      TrellisTile codes{}, symbols{};
      for_trellis_steps(q.rows, q.cols, block, tile, [&](size_t step, size_t at) {
        codes[step] = q.codes[at];
        symbols[step] = codes[step] & symbol;
      });
      const TrellisTile expected = trellis_windows(symbols, q.scheme.bits, q.scheme.window);
      for_trellis_steps(q.rows, q.cols, block, tile, [&](size_t step, size_t /*at*/) {
        if (codes[step] == expected[step]) return;
        fail(ErrorCode::kInternal, kWhere, "code of step {} of tile {}, {} is {}, not {}", step,
             block, tile, codes[step], expected[step]);
      });
    }
  });
}

void check_parameters(const QuantizedMatrix& q, ThreadPool& pool) {
  const Scheme& scheme = q.scheme;
  const int64_t sets = q.parameter_sets(scheme.scale_sharing);
  check_count("scales", q.scale.size(), sets);
  if (scheme.scale_sharing == Sharing::kMatrix) {
    if (!std::isfinite(q.scale[0])) fail(ErrorCode::kInternal, kWhere, "scale is {}", q.scale[0]);
  } else {
    check_binary16("scale", q.scale, pool);
  }
  const bool affine = scheme.kind == ValueKind::kAffine;
  check_count("zeros", q.zero.size(), affine && zero_is_stored(scheme.zero) ? sets : 0);
  if (affine && scheme.zero == ZeroKind::kUnsigned) {
    for (float zero : q.zero) {
      if (!(zero >= 0 && zero <= 255 && zero == std::nearbyint(zero))) {
        fail(ErrorCode::kInternal, kWhere, "zero {} is not an integer from 0 to 255", zero);
      }
    }
  } else {
    check_binary16("zero", q.zero, pool);
  }
  check_count("offsets", q.offset.size(), !affine && scheme.has_offset ? sets : 0);
  check_binary16("offset", q.offset, pool);
  const int index_bits = scheme.kind == ValueKind::kTrellis ? kTrellisIndexBits : scheme.bits;
  check_count("levels", q.levels.size(),
              affine ? 0 : q.parameter_sets(scheme.table_sharing) << index_bits);
  if (scheme.planes) check_planes(q);
  if (scheme.kind == ValueKind::kTrellis && !is_invertible(q.mixing)) {
    fail(ErrorCode::kInternal, kWhere, "the mixing is not invertible");
  }
  for (float level : q.levels) {
    if (!storable(scheme.level_type, level)) {
      fail(ErrorCode::kInternal, kWhere, "level {} does not fit its type", level);
    }
  }
}

}  // namespace

float fixed_zero(ZeroKind kind, int bits) {
  switch (kind) {
    case ZeroKind::kSymmetric:
      return static_cast<float>(1 << (bits - 1));
    case ZeroKind::kCentered:
      return static_cast<float>((1 << bits) - 1) / 2;
    case ZeroKind::kUnsigned:
    case ZeroKind::kFloat:
      break;
  }
  fail(ErrorCode::kInternal, kWhere, "a stored zero has no fixed value");
}

bool zero_is_stored(ZeroKind kind) {
  return kind == ZeroKind::kUnsigned || kind == ZeroKind::kFloat;
}

int64_t QuantizedMatrix::groups() const {
  return scheme.group > 0 ? ceil_div(cols, scheme.group) : 1;
}

int64_t QuantizedMatrix::parameter_sets(Sharing sharing) const {
  switch (sharing) {
    case Sharing::kMatrix:
      return 1;
    case Sharing::kRow:
      return rows;
    case Sharing::kGroup:
      return rows * groups();
  }
  return 0;
}

int64_t QuantizedMatrix::parameter_index(Sharing sharing, int64_t row, int64_t col) const {
  switch (sharing) {
    case Sharing::kMatrix:
      return 0;
    case Sharing::kRow:
      return row;
    case Sharing::kGroup:
      return row * groups() + col / scheme.group;
  }
  return 0;
}

void validate(const QuantizedMatrix& q, ThreadPool& pool) {
  if (q.rows < 1 || q.cols < 1) {
    fail(ErrorCode::kInternal, kWhere, "shape [{}, {}] is empty", q.rows, q.cols);
  }
  check_scheme(q.scheme);
  check_count("codes", q.codes.size(), q.rows * q.cols);
  check_codes(q, pool);
  if (q.scheme.kind == ValueKind::kTrellis) check_windows(q, pool);
  check_parameters(q, pool);
}

void validate(const QuantizedMatrix& q) {
  ThreadPool alone(1, false);
  validate(q, alone);
}

void link_symbols(QuantizedMatrix& q) {
  for (int64_t block = 0; block < ceil_div(q.rows, kTrellisTile); ++block) {
    for (int64_t tile = 0; tile < ceil_div(q.cols, kTrellisTile); ++tile) {
      TrellisTile symbols{};
      for_trellis_steps(q.rows, q.cols, block, tile,
                        [&](size_t step, size_t at) { symbols[step] = q.codes[at]; });
      const TrellisTile windows = trellis_windows(symbols, q.scheme.bits, q.scheme.window);
      for_trellis_steps(q.rows, q.cols, block, tile,
                        [&](size_t step, size_t at) { q.codes[at] = windows[step]; });
    }
  }
}

void dequantize(const QuantizedMatrix& q, Matrix<float> out) {
  TWOFOLD_ASSERT(out.rows == q.rows && out.cols == q.cols);
  dequantize_rows(q, 0, out);
}

void dequantize_rows(const QuantizedMatrix& q, int64_t row_begin, Matrix<float> out) {
  const Scheme& scheme = q.scheme;
  const bool affine = scheme.kind == ValueKind::kAffine;
  const bool stored_zero = affine && zero_is_stored(scheme.zero);
  const float fixed = affine && !stored_zero ? fixed_zero(scheme.zero, scheme.bits) : 0;
  const float power = std::ldexp(1.0f, scheme.level_exponent);
  const int64_t group = scheme.group > 0 ? scheme.group : q.cols;
  std::vector<float> window_levels;  // kTrellis: the level of each window
  if (scheme.kind == ValueKind::kTrellis) {
    for (uint32_t w = 0; w < 1u << scheme.window; ++w) {
      window_levels.push_back(q.levels[static_cast<size_t>(trellis_index(q.mixing, w))]);
    }
  }
  for (int64_t i = 0; i < out.rows; ++i) {
    const int64_t r = row_begin + i;
    const uint16_t* codes = q.codes.data() + r * q.cols;
    float* values = out.data + i * out.stride;
    size_t set = static_cast<size_t>(q.parameter_index(scheme.scale_sharing, r, 0));
    const size_t next = scheme.scale_sharing == Sharing::kGroup ? 1 : 0;
    for (int64_t begin = 0; begin < q.cols; begin += group, set += next) {
      const int64_t end = std::min(q.cols, begin + group);
      const float scale = q.scale[set];
      if (affine) {
        const float zero = stored_zero ? q.zero[set] : fixed;
        for (int64_t c = begin; c < end; ++c) {
          values[c] = scale * (static_cast<float>(codes[c]) - zero);
        }
        continue;
      }
      const size_t table = static_cast<size_t>(q.parameter_index(scheme.table_sharing, r, begin));
      const float* levels =
          window_levels.empty() ? q.levels.data() + (table << scheme.bits) : window_levels.data();
      for (int64_t c = begin; c < end; ++c) {
        const float product = scale * (levels[codes[c]] * power);
        values[c] = scheme.has_offset ? product + q.offset[set] : product;
      }
    }
  }
}

void restore(const QuantizedMatrix& q, Matrix<float> out) {
  dequantize(q, out);
  prepare_transform(q.transform, q.rows, q.cols)->undo_weight(out);
}

}  // namespace twofold
