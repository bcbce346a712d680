// Products with many rows of activations on the tile unit. 32 rows of weights x a chunk of columns
// are unpacked to signed bytes in the L1 cache and multiplied by 32 rows of activations at a time:
// four int32 tiles. Tiles of a chunk are stored and scaled to float32 while the unit works on the
// next chunk.
#include "kernels/amx/epilogue.h"
#include "kernels/avx512vnni/unpacked_kinds.h"
#include "kernels/tables.h"

namespace {

using twofold::Int8Rows;
using twofold::Kernel;
using twofold::MatmulArgs;

constexpr int64_t kTileRows = 16;
/// Rows of activations and blocks of weights whose results stay in the scratch memory (L2 cache).
constexpr int64_t kPassRows = 512;
constexpr int64_t kPassBlocks = 16;
constexpr int64_t kStepColumns = 64;  // of a tile
constexpr int64_t kLongestSegment = 128;
constexpr int64_t kFewestRows = 8;

constexpr int64_t kSlabBytes = 2 * 16 * kLongestSegment * kChunkSegments;
constexpr int64_t kIntegerElements = kSegmentElements * kChunkSegments;

struct Parameters {
  alignas(64) float a[2][kChunkSegments][16], b[2][kChunkSegments][16];
};

/// Scratch memory; what the tiles write and the scaling reads exists twice.
struct Scratch {
  alignas(64) uint8_t slab[kSlabBytes];  // [2 blocks][columns / 4][16][4]
  alignas(64) int32_t integers[2][kIntegerElements];
  Parameters parameters[2];
  alignas(64) float scales[kPassRows * kChunkSegments], group_sums[kPassRows * kChunkSegments];
  float *running, *y;  // [tiles][blocks of the pass][rows][16]
};

int64_t tiles_of(int64_t m) { return m <= kTileRows ? 1 : (m + 2 * kTileRows - 1) / 32 * 2; }

int64_t rows_of_pass(int64_t m) { return m < kPassRows ? m : kPassRows; }

int64_t result_elements(int64_t m) {
  return tiles_of(rows_of_pass(m)) * kTileRows * kPassBlocks * 16;
}

int64_t scratch_bytes(const PackedView&, int64_t m) {
  return static_cast<int64_t>(sizeof(Scratch)) + 2 * 4 * result_elements(m);
}

/// Columns that are multiplied before their tiles are scaled: segments of one group, or several
/// groups of one segment.
struct Chunk {
  int64_t begin, columns;  // columns padded to whole steps
  int64_t first_segment, group;
  int segments;
  bool starts_group, ends_group;
};

/// What is constant in a call of the kernel.
struct Shape {
  int64_t step;  // columns of a tile: the segment's if they are fewer than 64
  int64_t steps_per_segment;
  int64_t segments_per_group;
  bool group_per_segment;
};

Shape shape_of(const PackedView& w, const Int8Rows& x) {
  Shape shape;
  shape.step = x.segment < kStepColumns ? x.segment : kStepColumns;
  shape.steps_per_segment = x.segment / shape.step;
  shape.segments_per_group = (w.group + x.segment - 1) / x.segment;
  shape.group_per_segment = shape.segments_per_group == 1;
  return shape;
}

Chunk chunk_at(const Shape& shape, const PackedView& w, const Int8Rows& x, int64_t segment) {
  const int64_t group = segment / shape.segments_per_group;
  int64_t last = x.segments;
  if (!shape.group_per_segment && (group + 1) * shape.segments_per_group < last) {
    last = (group + 1) * shape.segments_per_group;
  }
  const int64_t group_end = last;
  if (last > segment + kChunkSegments) last = segment + kChunkSegments;
  Chunk chunk;
  chunk.begin = segment * x.segment;
  const int64_t end = last * x.segment < w.cols ? last * x.segment : w.cols;
  chunk.columns = (end - chunk.begin + shape.step - 1) / shape.step * shape.step;
  chunk.first_segment = segment;
  chunk.group = group;
  chunk.segments = static_cast<int>(last - segment);
  chunk.starts_group = segment == group * shape.segments_per_group;
  chunk.ends_group = last == group_end;
  return chunk;
}

/// Weights of a chunk less the bias, to [columns / 4][16][4] signed bytes.
template <class Values>
void unpack_chunk(const PackedView& w, int64_t block, const Chunk& chunk, uint8_t* slab) {
  Values values;
  values.load_matrix(w);
  const __m512i bias = _mm512_set1_epi8(static_cast<char>(static_cast<int>(w.bias)));
  const uint8_t* bytes = w.blob + block * w.block_bytes;
  const int64_t padded = chunk.begin + chunk.columns;
  const int64_t end = padded < w.cols ? padded : w.cols;
  for (int64_t c = chunk.begin; c < end;) {
    const int64_t g = c / w.group;
    values.load_group(w, bytes, g);
    const int64_t group_end = (g + 1) * w.group < end ? (g + 1) * w.group : end;
    const uint8_t* step =
        bytes + g * w.group_bytes + (c - g * w.group) / Values::kColumns * Values::kLines * 64;
    uint8_t* to = slab + (c - chunk.begin) * 16;
    for (; c < group_end; c += Values::kColumns) {
#pragma GCC unroll 8
      for (int j = 0; j < Values::kColumns / 4; ++j) {
        _mm512_store_si512(to + 64 * j, _mm512_sub_epi8(values.value(step, j), bias));
      }
      step += Values::kLines * 64;
      to += Values::kColumns * 16;
    }
  }
}

using UnpackFn = void (*)(const PackedView& w, int64_t block, const Chunk& chunk, uint8_t* slab);

/// The layout that LDTILECFG reads.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

/// Tiles 0 to 3: sums; 4 and 5: activations; 6 and 7: weights.
void configure_tiles(int64_t rows, int64_t step) {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = static_cast<uint16_t>(i == 4 || i == 5 ? step : 64);
    config.rows[i] = static_cast<uint8_t>(i < 6 ? rows : step / 4);
  }
  // GCC does not know that the instruction reads the whole structure.
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

/// The product of one step. A product takes as long as storing a tile: where a segment starts, each
/// sum of the segment before is stored just before its tile is used again, to `pending`. Rows of
/// `previous` are scaled between products; those of a part only after its tile is stored.
template <int kTiles, int kBlocks, bool kStart>
TWOFOLD_INLINE void multiply_step(const uint8_t* first, const uint8_t* second, const int8_t* x0,
                                  const int8_t* x1, int64_t stride, int32_t* pending,
                                  Unit& previous, int64_t share) {
  _tile_loadd(6, first, 64);
  _tile_loadd(4, x0, stride);
  if constexpr (kStart) {
    _tile_stored(0, pending, 64);
    _tile_zero(0);
  }
  _tile_dpbssd(0, 4, 6);
  scale_some(previous, share);
  if constexpr (kBlocks == 2) {
    _tile_loadd(7, second, 64);
    if constexpr (kStart) {
      _tile_stored(1, pending + kTileElements, 64);
      _tile_zero(1);
    }
    _tile_dpbssd(1, 4, 7);
    scale_some(previous, share);
  }
  if constexpr (kTiles == 2) {
    _tile_loadd(5, x1, stride);
    if constexpr (kStart) {
      _tile_stored(2, pending + 2 * kTileElements, 64);
      _tile_zero(2);
    }
    _tile_dpbssd(2, 5, 6);
    scale_some(previous, share);
  }
  if constexpr (kTiles == 2 && kBlocks == 2) {
    if constexpr (kStart) {
      _tile_stored(3, pending + 3 * kTileElements, 64);
      _tile_zero(3);
    }
    _tile_dpbssd(3, 5, 7);
    scale_some(previous, share);
  }
}

/// Multiplies a chunk for kTiles tiles of activations and kBlocks blocks of weights, whose sums of
/// the last segment stay in the tiles, and scales all rows of `previous`.
/// @param pending where the sums that are in the tiles belong
template <int kTiles, int kBlocks>
void multiply_chunk(const Shape& shape, const Chunk& chunk, const uint8_t* slab, const int8_t* x0,
                    const int8_t* x1, int64_t stride, int32_t* integers, int32_t* pending,
                    Unit& previous) {
  int64_t left = chunk.columns / shape.step;
  const int64_t slots = left * kTiles * kBlocks;
  const int64_t share = (previous.count * previous.rows + slots - 1) / slots;
  const uint8_t* second = slab + 16 * chunk.columns;
  const int64_t step = shape.step;
  for (int s = 0; s < chunk.segments; ++s) {
    for (int64_t k = 0; k < shape.steps_per_segment && left > 0; ++k, --left) {
      if (k == 0) {
        multiply_step<kTiles, kBlocks, true>(slab, second, x0, x1, stride, pending, previous,
                                             share);
      } else {
        multiply_step<kTiles, kBlocks, false>(slab, second, x0, x1, stride, pending, previous,
                                              share);
      }
      slab += 16 * step;
      second += 16 * step;
      x0 += step;
      x1 += step;
    }
    pending = integers + s * kSegmentElements;
  }
}

using MultiplyFn = void (*)(const Shape& shape, const Chunk& chunk, const uint8_t* slab,
                            const int8_t* x0, const int8_t* x1, int64_t stride, int32_t* integers,
                            int32_t* pending, Unit& previous);
constexpr MultiplyFn kMultiply[2][2] = {{multiply_chunk<1, 1>, multiply_chunk<1, 2>},
                                        {multiply_chunk<2, 1>, multiply_chunk<2, 2>}};

/// Stores the sums that are in the tiles and scales all that is left.
void finish(int32_t* pending, Unit& u) {
  _tile_stored(0, pending, 64);
  _tile_stored(1, pending + kTileElements, 64);
  _tile_stored(2, pending + 2 * kTileElements, 64);
  _tile_stored(3, pending + 3 * kTileElements, 64);
  scale_some(u, 4 * kTileRows);
}

/// a and b of the groups of a chunk.
void load_parameters(const Shape& shape, const PackedView& w, const Chunk& chunk, int64_t block,
                     int64_t blocks, Parameters& out) {
  const int groups = shape.group_per_segment ? chunk.segments : 1;
  for (int64_t b = 0; b < blocks; ++b) {
    for (int g = 0; g < groups; ++g) {
      const Scales scales = load_scales(w, w.blob + (block + b) * w.block_bytes, chunk.group + g);
      _mm512_store_ps(out.a[b][g], scales.a);
      _mm512_store_ps(out.b[b][g], scales.b);
    }
  }
}

/// Up to kPassRows rows of activations and kPassBlocks blocks of weights.
struct Pass {
  const PackedView& w;
  Int8Rows x;
  int64_t m;
  float* y;
  int64_t y_stride;
  int64_t block_begin, block_end;
  Scratch& scratch;
  UnpackFn unpack;
};

/// Activations are cut into tiles of equal height; the last one may overlap the one before, whose
/// results it computes again.
struct Cut {
  int64_t tiles, rows;
  int64_t row_of(int64_t tile, int64_t m) const {
    return tile * rows < m - rows ? tile * rows : m - rows;
  }
};

Cut cut_of(int64_t m) {
  const int64_t tiles = tiles_of(m);
  return {tiles, (m + tiles - 1) / tiles};
}

/// The scales of activations and the group sums of a chunk to where tiles are scaled from.
void copy_scales(const Pass& pass, const Shape& shape, const Cut& cut, const Chunk& chunk) {
  const Int8Rows& x = pass.x;
  const int groups = shape.group_per_segment ? chunk.segments : 1;
  for (int64_t t = 0; t < cut.tiles; ++t) {
    for (int64_t i = 0; i < cut.rows; ++i) {
      const int64_t row = cut.row_of(t, pass.m) + i;
      const int64_t at = (t * cut.rows + i) * kChunkSegments;
      for (int s = 0; s < chunk.segments; ++s) {
        pass.scratch.scales[at + s] = x.scales[row * x.segments + chunk.first_segment + s];
      }
      for (int g = 0; g < groups; ++g) {
        pass.scratch.group_sums[at + g] = x.group_sums[row * pass.w.groups + chunk.group + g];
      }
    }
  }
}

/// What is left to do for the tiles of a chunk from `tile` on and the blocks from `block` on.
void describe_unit(const Pass& pass, const Shape& shape, const Cut& cut, const Chunk& chunk,
                   int64_t tile, int64_t block, int blocks, int tiles, const int32_t* integers,
                   const Parameters& parameters, Unit& u) {
  const bool first = shape.group_per_segment ? chunk.first_segment == 0 : chunk.starts_group;
  u.scale = chunk.segments == 1 ? scale_of<1>(shape.group_per_segment, first)
                                : scale_of<2>(shape.group_per_segment, first);
  u.count = 0;
  u.first_group = chunk.group == 0;
  u.ends_group = chunk.ends_group;
  u.rows = cut.rows;
  u.part = 0;
  u.row = 0;
  for (int t = 0; t < tiles; ++t) {
    for (int b = 0; b < blocks; ++b) {
      Part& p = u.parts[u.count++];
      const int64_t at = ((tile + t) * kPassBlocks + block + b - pass.block_begin) * cut.rows * 16;
      p.integers = integers + (2 * t + b) * kTileElements;
      p.scales = pass.scratch.scales + (tile + t) * cut.rows * kChunkSegments;
      p.group_sums = pass.scratch.group_sums + (tile + t) * cut.rows * kChunkSegments;
      p.running = pass.scratch.running + at;
      p.y = pass.scratch.y + at;
      p.a = parameters.a[b][0];
      p.b = parameters.b[b][0];
    }
  }
}

/// Results to where they belong, row after row of activations: as they come from the tiles each
/// line would go to another page.
void store_results(const Pass& pass, const Cut& cut) {
  const int64_t blocks = pass.block_end - pass.block_begin;
  for (int64_t t = 0; t < cut.tiles; ++t) {
    for (int64_t i = 0; i < cut.rows; ++i) {
      const float* from = pass.scratch.y + (t * kPassBlocks * cut.rows + i) * 16;
      float* to = pass.y + (cut.row_of(t, pass.m) + i) * pass.y_stride + pass.block_begin * 16;
      for (int64_t b = 0; b < blocks; ++b) {
        _mm512_mask_storeu_ps(to + 16 * b, rows_of_block(pass.w, pass.block_begin + b),
                              _mm512_load_ps(from + b * cut.rows * 16));
      }
    }
  }
}

void run_pass(const Pass& pass) {
  const PackedView& w = pass.w;
  Scratch& scratch = pass.scratch;
  const Shape shape = shape_of(w, pass.x);
  const Cut cut = cut_of(pass.m);
  const int tiles = cut.tiles == 1 ? 1 : 2;
  configure_tiles(cut.rows, shape.step);
  Unit units[2];
  int now = 0, set = 0, blocks_before = 0;
  int32_t* pending = scratch.integers[1];
  for (int64_t segment = 0; segment < pass.x.segments;) {
    const Chunk chunk = chunk_at(shape, w, pass.x, segment);
    const int8_t* columns = pass.x.values + chunk.begin;
    // What is left to scale reads the scales of the chunk before.
    finish(pending, units[now ^ 1]);
    copy_scales(pass, shape, cut, chunk);
    for (int64_t block = pass.block_begin; block < pass.block_end; block += 2) {
      const int blocks = block + 1 < pass.block_end ? 2 : 1;
      for (int b = 0; b < blocks; ++b) {
        pass.unpack(w, block + b, chunk, scratch.slab + b * 16 * chunk.columns);
      }
      if (blocks != blocks_before) finish(pending, units[now ^ 1]);
      blocks_before = blocks;
      set ^= 1;
      load_parameters(shape, w, chunk, block, blocks, scratch.parameters[set]);
      // GCC does not know that loads of tiles read memory.
      __asm__ volatile("" : : : "memory");
      for (int64_t tile = 0; tile < cut.tiles; tile += tiles) {
        int32_t* integers = scratch.integers[now];
        const int8_t* x0 = columns + cut.row_of(tile, pass.m) * pass.x.stride;
        const int8_t* x1 = columns + cut.row_of(tile + tiles - 1, pass.m) * pass.x.stride;
        kMultiply[tiles - 1][blocks - 1](shape, chunk, scratch.slab, x0, x1, pass.x.stride,
                                         integers, pending, units[now ^ 1]);
        pending = integers + (chunk.segments - 1) * kSegmentElements;
        describe_unit(pass, shape, cut, chunk, tile, block, blocks, tiles, integers,
                      scratch.parameters[set], units[now]);
        now ^= 1;
      }
    }
    segment += chunk.segments;
  }
  finish(pending, units[now ^ 1]);
  store_results(pass, cut);
}

void gemm(const MatmulArgs& args, UnpackFn unpack) {
  Scratch& scratch = *reinterpret_cast<Scratch*>(args.scratch);
  scratch.running = reinterpret_cast<float*>(args.scratch + sizeof(Scratch));
  scratch.y = scratch.running + result_elements(args.m);
  for (int64_t row = 0; row < args.m; row += kPassRows) {
    Int8Rows x = args.x;
    x.values += row * x.stride;
    x.scales += row * x.segments;
    x.sums += row * x.segments;
    x.group_sums += row * args.weights->groups;
    for (int64_t block = args.block_begin; block < args.block_end; block += kPassBlocks) {
      const int64_t end =
          block + kPassBlocks < args.block_end ? block + kPassBlocks : args.block_end;
      run_pass({*args.weights, x, rows_of_pass(args.m - row), args.y + row * args.y_stride,
                args.y_stride, block, end, scratch, unpack});
    }
  }
  _tile_release();
}

template <class Values>
void gemm_of(const MatmulArgs& args) {
  gemm(args, unpack_chunk<Values>);
}

/// Fewest rows of activations; planes unpack more slowly than the level below multiplies a few.
template <class Values>
constexpr int64_t kFewest = kFewestRows;
template <int kBits>
constexpr int64_t kFewest<PlaneValues<kBits>> = 4 * kFewestRows;

constexpr Kernel kKernels[] = {
#define TWOFOLD_ROW(accepts, type, bits, name)                              \
  {"gemm-" name "-amx", twofold::Isa::kAmx, kFewest<type<bits>>, INT64_MAX, \
   accepts<bits>,       scratch_bytes,      gemm_of<type<bits>>, false,     \
   kPassBlocks},
    TWOFOLD_UNPACKED_KINDS(TWOFOLD_ROW)
#undef TWOFOLD_ROW
};

}  // namespace

namespace twofold {
constinit const KernelList kGemmAmx = {kKernels, sizeof(kKernels) / sizeof(Kernel)};
}  // namespace twofold
