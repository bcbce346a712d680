#include "engine/attention.h"

#include <algorithm>
#include <cmath>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "tensor/gemm.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

constexpr int64_t kQueryBlock = 64;

struct Item {
  int64_t sequence, head, query_begin;
};

Matrix<const float> head_of(Matrix<const float> x, int64_t head, int64_t head_dim, int64_t begin,
                            int64_t count) {
  return {x.data + begin * x.stride + head * head_dim, count, head_dim, x.stride};
}

void attend_block(const AttentionInput& in, const ModelConfig& config, double scale, int64_t head,
                  int64_t begin, AlignedBuffer<float>& scratch, Isa isa) {
  const Ops& op = ops(isa);
  const int64_t d = config.head_dim;
  const int64_t kv_head = head / (config.heads / config.kv_heads);
  const int64_t count = std::min(kQueryBlock, in.q.rows - begin);
  const int64_t past = in.keys.rows - in.q.rows;  // positions before this call's tokens
  const int64_t visible = past + begin + count;   // keys that the block's last query sees
  scratch.ensure(static_cast<size_t>(kQueryBlock * round_up(in.keys.rows, 16)));
  Matrix<float> scores(scratch.data(), count, visible, round_up(visible, 16));
  matmul_serial(head_of(in.q, head, d, begin, count), head_of(in.keys, kv_head, d, 0, visible),
                scores, isa);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t own = past + begin + i + 1;
    float* row = scores.row(i).data();
    op.scale(static_cast<float>(scale), row, own);
    op.softmax(row, own);
    std::fill(row + own, row + visible, 0.0f);
  }
  Matrix<float> out(in.out.data + begin * in.out.stride + head * d, count, d, in.out.stride);
  matmul_nn_serial(scores, head_of(in.values, kv_head, d, 0, visible), out, isa);
}

}  // namespace

void attention(std::span<const AttentionInput> sequences, const ModelConfig& config, double scale,
               const Context& ctx) {
  std::vector<Item> items;
  for (size_t s = 0; s < sequences.size(); ++s) {
    // Longest blocks first, so that the last items to finish are short.
    const int64_t blocks = ceil_div(sequences[s].q.rows, kQueryBlock);
    for (int64_t b = blocks - 1; b >= 0; --b) {
      for (int64_t h = 0; h < config.heads; ++h) {
        items.push_back({static_cast<int64_t>(s), h, b * kQueryBlock});
      }
    }
  }
  std::vector<AlignedBuffer<float>> scratch(static_cast<size_t>(ctx.pool.size()));
  ctx.pool.run(static_cast<int64_t>(items.size()), [&](int64_t i, int worker) {
    const Item& item = items[static_cast<size_t>(i)];
    attend_block(sequences[static_cast<size_t>(item.sequence)], config, scale, item.head,
                 item.query_begin, scratch[static_cast<size_t>(worker)], ctx.isa);
  });
}

RopeTable::RopeTable(std::span<const float> frequencies, int64_t first_position, int64_t positions)
    : pairs_(static_cast<int64_t>(frequencies.size())),
      cos_(static_cast<size_t>(positions * pairs_)),
      sin_(static_cast<size_t>(positions * pairs_)) {
  for (int64_t p = 0; p < positions; ++p) {
    for (int64_t i = 0; i < pairs_; ++i) {
      // The angle is rounded to float32 as in the reference implementation.
      const float angle =
          static_cast<float>(first_position + p) * frequencies[static_cast<size_t>(i)];
      cos_[static_cast<size_t>(p * pairs_ + i)] = static_cast<float>(std::cos(double{angle}));
      sin_[static_cast<size_t>(p * pairs_ + i)] = static_cast<float>(std::sin(double{angle}));
    }
  }
}

void RopeTable::apply(int64_t head_dim, Matrix<float> x, int64_t row_begin, int64_t row_end) const {
  for (int64_t r = row_begin; r < row_end; ++r) {
    const float* c = cos_.data() + r * pairs_;
    const float* s = sin_.data() + r * pairs_;
    for (int64_t head = 0; head < x.cols / head_dim; ++head) {
      float* v = x.row(r).data() + head * head_dim;
      for (int64_t i = 0; i < pairs_; ++i) {
        const float a = v[i], b = v[i + pairs_];
        v[i] = a * c[i] - b * s[i];
        v[i + pairs_] = b * c[i] + a * s[i];
      }
    }
  }
}

}  // namespace twofold
