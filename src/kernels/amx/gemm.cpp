// Products with many rows of activations on the tile unit. 32 rows of weights x a chunk of columns
// are unpacked to signed bytes in the L1 cache and multiplied by 32 rows of activations at a time.
#include "kernels/amx/pipeline.h"
#include "kernels/avx512vnni/unpacked_kinds.h"
#include "kernels/tables.h"

namespace {

using twofold::Int8Rows;
using twofold::Kernel;
using twofold::kFewestTileRows;
using twofold::kTileRows;
using twofold::MatmulArgs;

/// Rows of activations and blocks of weights whose results stay in the scratch memory (L2 cache).
constexpr int64_t kPassRows = 512;
constexpr int64_t kPassBlocks = 16;
/// Columns that are unpacked at a time: results are read and written once for all. Whole segments.
constexpr int64_t kChunkColumns = 512;
constexpr int64_t kStepColumns = 64;  // of a tile
constexpr int64_t kBlockBytes = 16 * kChunkColumns;
constexpr int64_t kMostSegments = kChunkColumns / twofold::kSumColumns;  // of a chunk

/// How the sums of a chunk for two blocks are scaled.
struct Parameters {
  alignas(64) float a[kMostSegments][2][16], b[kMostSegments][2][16];  // of groups
  SegmentScaling segments[kMostSegments];
};

struct Scratch {
  alignas(64) uint8_t slab[2 * kBlockBytes];  // [2 blocks][columns / 4][16][4]
  alignas(64) int32_t integers[kPending * kUnitElements];
  Parameters parameters[kPending + 1];
  float *running, *y;  // [pairs of blocks][pairs of tiles][kUnitElements]
};

int64_t rows_of_pass(int64_t m) { return m < kPassRows ? m : kPassRows; }
int64_t tile_pairs(int64_t m) { return (m + 2 * kTileRows - 1) / (2 * kTileRows); }
int64_t result_elements(int64_t m) {
  return kPassBlocks / 2 * tile_pairs(rows_of_pass(m)) * kUnitElements;
}

int64_t scratch_bytes(const PackedView&, int64_t m) {
  return static_cast<int64_t>(sizeof(Scratch)) + 2 * 4 * result_elements(m);
}

/// What is constant in a call of the kernel.
struct Shape {
  int64_t step;  // columns of a tile: the segment's if they are fewer than 64
  int64_t chunk_segments;
  int64_t segments_per_group;
};

Shape shape_of(const PackedView& w, const Int8Rows& x) {
  Shape shape;
  shape.step = x.segment < kStepColumns ? x.segment : kStepColumns;
  shape.chunk_segments = kChunkColumns / x.segment;
  shape.segments_per_group = (w.group + x.segment - 1) / x.segment;
  return shape;
}

/// Columns that are unpacked together, padded to whole steps, and their segments.
struct Chunk {
  int64_t begin, columns;
  int64_t first_segment, last_segment;
};

Chunk chunk_at(const Shape& shape, const PackedView& w, const Int8Rows& x, int64_t segment) {
  const int64_t last = segment + shape.chunk_segments;
  Chunk chunk;
  chunk.first_segment = segment;
  chunk.last_segment = last < x.segments ? last : x.segments;
  chunk.begin = segment * x.segment;
  const int64_t full_end = chunk.last_segment * x.segment;
  const int64_t end = full_end < w.cols ? full_end : w.cols;
  chunk.columns = (end - chunk.begin + shape.step - 1) / shape.step * shape.step;
  return chunk;
}

/// Weights of a chunk less the bias, to [columns / 4][16][4] signed bytes; of wide ones the low
/// bytes without a sign, and the high ones as the second block.
/// @param matrix Values that all blocks share: load_matrix has been called.
template <class Values>
void unpack_chunk(const PackedView& w, const void* matrix, int64_t block, const Chunk& chunk,
                  uint8_t* slab) {
  Values values = *static_cast<const Values*>(matrix);
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
      __m512i values_of_step[Values::kColumns / 4];
      if constexpr (!Values::kWide) unpack_step(values, step, values_of_step);
#pragma GCC unroll 8
      for (int j = 0; j < Values::kColumns / 4; ++j) {
        if constexpr (Values::kWide) {
          __m512i low, high;
          values.value(step, j, low, high);
          _mm512_store_si512(to + 64 * j, low);
          _mm512_store_si512(to + kBlockBytes + 64 * j,
                             _mm512_xor_si512(high, _mm512_set1_epi8(static_cast<char>(0x80))));
        } else {
          _mm512_store_si512(to + 64 * j, _mm512_sub_epi8(values_of_step[j], bias));
        }
      }
      step += Values::kLines * 64;
      to += Values::kColumns * 16;
    }
  }
}

struct Unpacking {
  void (*unpack)(const PackedView& w, const void* matrix, int64_t block, const Chunk& chunk,
                 uint8_t* slab);
  const void* matrix;
  bool wide;
};

/// a and b of the groups of a chunk.
void load_parameters(const Shape& shape, const PackedView& w, const Chunk& chunk, int64_t block,
                     int64_t blocks, Parameters& out) {
  const int64_t first = chunk.first_segment / shape.segments_per_group;
  const int64_t last = (chunk.last_segment - 1) / shape.segments_per_group;
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t g = first; g <= last; ++g) {
      const Scales scales = load_scales(w, w.blob + (block + b) * w.block_bytes, g);
      _mm512_store_ps(out.a[g - first][b], scales.a);
      _mm512_store_ps(out.b[g - first][b], scales.b);
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
  const Unpacking& unpacking;

  /// Blocks of a unit.
  int64_t unit_blocks() const { return unpacking.wide ? 1 : 2; }
  bool has_second(int64_t block) const { return !unpacking.wide && block + 1 < block_end; }
};

SegmentScaling scaling_of(const Pass& pass, const Shape& shape, const Chunk& chunk, int64_t segment,
                          const Parameters& parameters) {
  const int64_t group = segment / shape.segments_per_group;
  const int64_t within = segment - group * shape.segments_per_group;
  const int64_t at = group - chunk.first_segment / shape.segments_per_group;
  const bool ends = within == shape.segments_per_group - 1 || segment == pass.x.segments - 1;
  SegmentScaling out;
  out.scaling = Scaling::kRunning;
  if (ends) out.scaling = within == 0 ? Scaling::kGroup : Scaling::kEndsGroup;
  out.keep_running = within == 0 ? 0 : 0xFFFF;
  out.keep_y = group == 0 ? 0 : 0xFFFF;
  out.scales = pass.x.tile_scales + segment * pass.x.tile_rows;
  out.group_sums = pass.x.tile_sums + group * pass.x.tile_rows;
  out.a = parameters.a[at][0];
  out.b = parameters.b[at][0];
  return out;
}

/// Multiplies the unpacked weights of a pair of blocks by all rows of activations.
void multiply_pair(const Pass& pass, const Shape& shape, const Chunk& chunk, int64_t block,
                   Parameters& parameters, Pipeline& pipeline) {
  const int64_t pairs = tile_pairs(pass.m);
  const int64_t first_unit = (block - pass.block_begin) / pass.unit_blocks() * pairs;
  const int64_t stride = kTileRows * pass.x.stride;
  const int64_t segments = chunk.last_segment - chunk.first_segment;
  for (int64_t s = 0; s < segments; ++s) {
    parameters.segments[s] = scaling_of(pass, shape, chunk, chunk.first_segment + s, parameters);
  }
  for (int64_t tile = 0; tile < pairs; ++tile) {
    const int64_t unit = (first_unit + tile) * kUnitElements;
    const int8_t* activations = pass.x.tiles + 2 * tile * stride + chunk.begin * kTileRows;
    int64_t left = chunk.columns;
    for (int64_t s = 0; s < segments; ++s, left -= pass.x.segment) {
      const int64_t column = s * pass.x.segment;
      // Tiles of 32 columns are halves of those of the activations.
      const int64_t in_tile = column % kStepColumns;
      pipeline.multiply({.weights = pass.scratch.slab + 16 * column,
                         .weight_stride = kBlockBytes,
                         .activations = activations + kTileRows * (column - in_tile) + in_tile,
                         .activation_stride = stride},
                        (left < pass.x.segment ? left : pass.x.segment) > kStepColumns ? 2 : 1,
                        parameters.segments[s], 2 * tile * kTileRows, pass.scratch.running + unit,
                        pass.scratch.y + unit);
    }
  }
}

/// Results to where they belong, 32 rows of activations after another: as they come from the tiles
/// each line would go to another page.
void store_results(const Pass& pass) {
  const int64_t pairs = tile_pairs(pass.m);
  for (int64_t row = 0; row < pass.m; row += 2 * kTileRows) {
    const int64_t rows = row + 2 * kTileRows < pass.m ? 2 * kTileRows : pass.m - row;
    for (int64_t block = pass.block_begin; block < pass.block_end; block += pass.unit_blocks()) {
      const int64_t unit =
          (block - pass.block_begin) / pass.unit_blocks() * pairs + row / (2 * kTileRows);
      const float* from = pass.scratch.y + unit * kUnitElements;
      float* to = pass.y + row * pass.y_stride + block * 16;
      const __mmask16 first = rows_of_block(pass.w, block);
      const __mmask16 second = pass.has_second(block) ? rows_of_block(pass.w, block + 1) : 0;
      for (int64_t i = 0; i < rows; ++i, to += pass.y_stride) {
        const float* at = from + i / kTileRows * 2 * kTileElements + i % kTileRows * 16;
        _mm512_mask_storeu_ps(to, first, _mm512_load_ps(at));
        if (second == 0) continue;
        _mm512_mask_storeu_ps(to + 16, second, _mm512_load_ps(at + kTileElements));
      }
    }
  }
}

void run_pass(const Pass& pass) {
  const PackedView& w = pass.w;
  Scratch& scratch = pass.scratch;
  const Shape shape = shape_of(w, pass.x);
  configure_tiles(shape.step);
  Pipeline pipeline(scratch.integers, pass.m <= kTileRows ? 1 : 2, pass.unpacking.wide);
  int set = 0;
  for (int64_t segment = 0; segment < pass.x.segments; segment += shape.chunk_segments) {
    const Chunk chunk = chunk_at(shape, w, pass.x, segment);
    for (int64_t block = pass.block_begin; block < pass.block_end; block += pass.unit_blocks()) {
      // Without a second block, what is left in its place is multiplied and not stored.
      const int64_t blocks = pass.has_second(block) ? 2 : 1;
      for (int64_t b = 0; b < blocks; ++b) {
        pass.unpacking.unpack(w, pass.unpacking.matrix, block + b, chunk,
                              scratch.slab + b * kBlockBytes);
      }
      set = set == kPending ? 0 : set + 1;
      load_parameters(shape, w, chunk, block, blocks, scratch.parameters[set]);
      // GCC does not know that loads of tiles read memory.
      __asm__ volatile("" : : : "memory");
      multiply_pair(pass, shape, chunk, block, scratch.parameters[set], pipeline);
    }
  }
  pipeline.finish();
  store_results(pass);
}

void gemm(const MatmulArgs& args, const Unpacking& unpacking) {
  const int64_t pass_blocks = unpacking.wide ? kPassBlocks / 2 : kPassBlocks;
  Scratch& scratch = *reinterpret_cast<Scratch*>(args.scratch);
  scratch.running = reinterpret_cast<float*>(args.scratch + sizeof(Scratch));
  scratch.y = scratch.running + result_elements(args.m);
  for (int64_t row = 0; row < args.m; row += kPassRows) {
    Int8Rows x = args.x;
    x.tiles += row * x.stride;
    x.tile_scales += row;
    x.tile_sums += row;
    for (int64_t block = args.block_begin; block < args.block_end; block += pass_blocks) {
      const int64_t end =
          block + pass_blocks < args.block_end ? block + pass_blocks : args.block_end;
      run_pass({*args.weights, x, rows_of_pass(args.m - row), args.y + row * args.y_stride,
                args.y_stride, block, end, scratch, unpacking});
    }
  }
  _tile_release();
}

template <class Values>
void gemm_of(const MatmulArgs& args) {
  Values matrix;
  matrix.load_matrix(*args.weights);
  gemm(args, {.unpack = unpack_chunk<Values>, .matrix = &matrix, .wide = Values::kWide});
}

/// Fewest rows of activations: with less, unpacking by several shuffles takes longer than the level
/// below altogether.
template <class Values>
constexpr int64_t kFewest = kFewestTileRows;
template <int kBits>
constexpr int64_t kFewest<RowTableValues<kBits>> = kBits < 3 ? kFewestTileRows : kTileRows;
template <int kBits>
constexpr int64_t kFewest<PlaneValues<kBits>> = kBits < 3 ? kFewestTileRows : kTileRows;
template <int kBits, int kWindow>
constexpr int64_t kFewest<TrellisValues<kBits, kWindow>> = kTileRows;

constexpr Kernel kKernels[] = {
#define TWOFOLD_ROW(accepts, type, bits, name)                              \
  {"gemm-" name "-amx", twofold::Isa::kAmx, kFewest<type<bits>>, INT64_MAX, \
   accepts<bits>,       scratch_bytes,      gemm_of<type<bits>>, false,     \
   kPassBlocks},
    TWOFOLD_UNPACKED_KINDS(TWOFOLD_ROW) TWOFOLD_WIDE_KINDS(TWOFOLD_ROW)
#undef TWOFOLD_ROW
};

}  // namespace

namespace twofold {
constinit const KernelList kGemmAmx = {kKernels, sizeof(kKernels) / sizeof(Kernel)};
}  // namespace twofold
