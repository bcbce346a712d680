#include "engine/block.h"

#include <algorithm>
#include <map>

#include "base/checked_math.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

/// x += factor added, both [tokens, hidden].
void add_rows(double factor, Matrix<const float> added, Matrix<float> x, const Context& ctx) {
  const Ops& op = ops(ctx.isa);
  for_rows(x.rows, ctx, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (factor == 1) {
        op.add(added.row(r).data(), x.row(r).data(), x.cols);
      } else {
        op.axpy(static_cast<float>(factor), added.row(r).data(), x.row(r).data(), x.cols);
      }
    }
  });
}

void copy_rows(Matrix<const float> from, Matrix<float> to) {
  for (int64_t r = 0; r < from.rows; ++r) std::ranges::copy(from.row(r), to.row(r).begin());
}

int64_t qkv_width(const ModelConfig& c) { return c.q_width() + 2 * c.kv_width(); }

}  // namespace

void BlockBuffers::ensure(const ModelConfig& c, int64_t tokens) {
  narrow.ensure(static_cast<size_t>(tokens * c.hidden));
  if (c.parallel_residual) second.ensure(static_cast<size_t>(tokens * c.hidden));
  wide.ensure(static_cast<size_t>(tokens * (qkv_width(c) + c.q_width())));
}

Block::Block(const ModelFiles& files, int layer)
    : files_(files), layer_(layer), kind_(files.config.layer(layer)) {
  TWOFOLD_ASSERT(layer >= 0 && layer < files.config.layers);
  std::vector<const Slot*> linears;
  std::map<std::string_view, const Slot*> biases;
  for (const Slot& slot : files.slots) {
    if (slot.layer != layer) continue;
    if (slot.role == Role::kBias) biases[slot.slot] = &slot;
    if (is_block_linear(slot.role) || slot.role == Role::kRouter) linears.push_back(&slot);
  }
  for (const Slot* slot : linears) {
    const auto bias = biases.find(slot->slot + ".bias");
    add_linear(*slot, bias == biases.end() ? nullptr : bias->second);
  }
  bind_groups();
  const std::string prefix = fmt::format("layers.{}.", layer);
  attention_norm_ = read_norm(files, prefix + "attn_norm");
  attention_post_norm_ = read_norm(files, prefix + "attn_post_norm");
  mlp_norm_ = read_norm(files, prefix + "mlp_norm");
  mlp_post_norm_ = read_norm(files, prefix + "mlp_post_norm");
  q_norm_ = read_norm(files, prefix + "attn.q_norm");
  k_norm_ = read_norm(files, prefix + "attn.k_norm");
  if (files.config.position == PositionKind::kAlibi) slopes_ = alibi_slopes(files.config.heads);
}

/// Adds to the group of its input. The rules of a family name the inputs in their order.
void Block::add_linear(const Slot& slot, const Slot* bias) {
  auto group = std::ranges::find(groups_, slot.input, [](const auto& g) { return g->input; });
  if (group == groups_.end()) {
    group = groups_.insert(groups_.end(), std::make_unique<InputGroup>());
    (*group)->input = slot.input;
    (*group)->role = slot.role;
    (*group)->expert = slot.expert;
  }
  (*group)->slots.push_back(slot.slot);
  (*group)->linears.push_back(std::make_unique<Linear>(files_, slot, bias));
}

void Block::bind_groups() {
  const InputGroup* router = nullptr;
  std::vector<Mlp> experts(static_cast<size_t>(kind_.experts ? files_.config.experts : 0));
  for (const auto& group : groups_) {
    group->find_basis();
    Mlp& mlp = group->expert < 0 ? mlp_ : experts[static_cast<size_t>(group->expert)];
    switch (group->role) {
      case Role::kAttentionIn:
        attention_in_ = group.get();
        break;
      case Role::kAttentionOut:
        attention_out_ = group.get();
        break;
      case Role::kRouter:
        router = group.get();
        break;
      case Role::kMlpIn:
        mlp.in = group.get();
        break;
      case Role::kMlpOut:
        mlp.out = group.get();
        break;
      case Role::kEmbedding:
      case Role::kPosition:
      case Role::kHead:
      case Role::kNorm:
      case Role::kBias:
      case Role::kProjection:
        fail(ErrorCode::kInternal, group->input, "is no input of a block's linear");
    }
  }
  if (kind_.experts) experts_.emplace(files_.config, router, std::move(experts));
}

int64_t Block::stored_bytes() const {
  int64_t bytes = 0, experts = 0;
  for (const auto& group : groups_) {
    for (const auto& linear : group->linears) {
      (group->expert < 0 ? bytes : experts) += linear->stored_bytes();
    }
  }
  if (experts == 0) return bytes;
  return bytes + experts * files_.config.experts_per_token / files_.config.experts;
}

void Block::replace(std::string_view slot, const PackedMatrix& packed,
                    const TransformSpec& transform) {
  for (const auto& group : groups_) {
    for (size_t i = 0; i < group->slots.size(); ++i) {
      if (group->slots[i] != slot) continue;
      std::unique_ptr<Linear>& linear = group->linears[i];
      if (packed.rows != linear->rows() || packed.cols != linear->cols()) {
        fail(ErrorCode::kInvalidArgument, slot, "expected a matrix {} x {}, found {} x {}",
             linear->rows(), linear->cols(), packed.rows, packed.cols);
      }
      linear =
          std::make_unique<Linear>(packed, transform, files_.find(fmt::format("{}.bias", slot)));
      group->find_basis();
      return;
    }
  }
  fail(ErrorCode::kInvalidArgument, slot, "is no linear of block {}", layer_);
}

bool Block::has_input(std::string_view input) const {
  return std::ranges::any_of(groups_, [&](const auto& group) { return group->input == input; });
}

void Block::run(const BlockPass& pass, Matrix<float> x, BlockBuffers& buffers, const Context& ctx,
                const InputObserver& observer, std::string_view stop_at) const {
  const ModelConfig& c = files_.config;
  TWOFOLD_ASSERT(x.rows == pass.tokens && x.cols == c.hidden);
  buffers.ensure(c, pass.tokens);
  const InputWatch watch{observer, stop_at};
  const Matrix<float> branch(buffers.narrow.data(), pass.tokens, c.hidden);
  enter(attention_norm_, x, branch, ctx);
  if (run_attention(pass, branch, buffers, watch, ctx)) return;
  if (c.parallel_residual) {
    const Matrix<float> second(buffers.second.data(), pass.tokens, c.hidden);
    enter(mlp_norm_, x, second, ctx);
    leave(attention_norm_, attention_post_norm_, branch, x, ctx);
    if (run_mlp(second, buffers, watch, ctx)) return;
    leave(mlp_norm_, mlp_post_norm_, second, x, ctx);
    return;
  }
  leave(attention_norm_, attention_post_norm_, branch, x, ctx);
  enter(mlp_norm_, x, branch, ctx);
  if (run_mlp(branch, buffers, watch, ctx)) return;
  leave(mlp_norm_, mlp_post_norm_, branch, x, ctx);
}

/// branch = what a branch reads of the stream x, both [tokens, hidden].
void Block::enter(const std::optional<Norm>& norm, Matrix<float> x, Matrix<float> branch,
                  const Context& ctx) const {
  const NormPlace place = files_.config.norm_place;
  if (!norm || place == NormPlace::kAfterResidual) {
    copy_rows(x, branch);
    return;
  }
  norm_rows(files_.config, *norm, x, branch, ctx);
  if (place == NormPlace::kNormedStream) copy_rows(branch, x);
}

/// Adds to the stream x what a branch made, both [tokens, hidden].
void Block::leave(const std::optional<Norm>& norm, const std::optional<Norm>& branch_norm,
                  Matrix<float> branch, Matrix<float> x, const Context& ctx) const {
  const ModelConfig& c = files_.config;
  if (branch_norm) norm_rows(c, *branch_norm, branch, branch, ctx);
  add_rows(c.residual_scale, branch, x, ctx);
  if (norm && c.norm_place == NormPlace::kAfterResidual) norm_rows(c, *norm, x, x, ctx);
}

// narrow [tokens, hidden]: the normed stream, replaced by what attention adds to it.
// @return true if stopped.
bool Block::run_attention(const BlockPass& pass, Matrix<float> narrow, BlockBuffers& buffers,
                          const InputWatch& watch, const Context& ctx) const {
  const ModelConfig& c = files_.config;
  const Matrix<float> qkv(buffers.wide.data(), pass.tokens, qkv_width(c));
  const Matrix<float> attended(qkv.data + qkv.rows * qkv.cols, pass.tokens, c.q_width());
  if (watch.show(*attention_in_, narrow)) return true;
  attention_in_->apply(narrow, qkv, ctx);
  attend(pass, qkv.data, attended.data, ctx);
  if (watch.show(*attention_out_, attended)) return true;
  attention_out_->apply(attended, narrow, ctx);
  return false;
}

void Block::attend(const BlockPass& pass, float* qkv, float* attended, const Context& ctx) const {
  const ModelConfig& c = files_.config;
  const int64_t q_width = c.q_width(), kv_width = c.kv_width(), stride = qkv_width(c);
  // Some tokens of one sequence: rows of the stream that the sequence begins at, and of it.
  struct Chunk {
    const SequenceRows* sequence;
    int64_t row, begin, count;
  };
  std::vector<Chunk> chunks;
  std::vector<KvRows> kept_nowhere;
  kept_nowhere.reserve(pass.sequences.size());
  std::vector<AttentionInput> inputs;
  int64_t row = 0;
  for (const SequenceRows& sequence : pass.sequences) {
    const int64_t count = sequence.count;
    float* base = qkv + row * stride;
    const KvSource* source = nullptr;
    if (sequence.cache != nullptr) {
      KvLayer& layer = sequence.cache->layer(layer_);
      layer.extend(sequence.past(), count);
      source = &layer;
    } else {
      const Matrix<float> k(base + q_width, count, kv_width, stride);
      const Matrix<float> v(base + q_width + kv_width, count, kv_width, stride);
      source = &kept_nowhere.emplace_back(k, v, c.head_dim);
    }
    inputs.push_back({Matrix<float>(base, count, q_width, stride), source,
                      Matrix<float>(attended + row * q_width, count, q_width)});
    for (int64_t begin = 0; begin < count; begin += kRowsPerItem) {
      chunks.push_back({&sequence, row, begin, std::min(kRowsPerItem, count - begin)});
    }
    row += count;
  }
  const auto place_chunk = [&](int64_t item, int) {
    const Chunk& chunk = chunks[static_cast<size_t>(item)];
    place(pass, *chunk.sequence, chunk.begin,
          {qkv + (chunk.row + chunk.begin) * stride, chunk.count, stride}, ctx.isa);
  };
  if (chunks.size() == 1) {
    place_chunk(0, 0);
  } else {
    ctx.pool.run(std::ssize(chunks), place_chunk);
  }
  const double scale = c.attention_scale_by_layer
                           ? c.attention_scale / static_cast<double>(layer_ + 1)
                           : c.attention_scale;
  attention(
      inputs, c,
      {.scale = scale, .softcap = c.attention_softcap, .window = kind_.window, .slopes = slopes_},
      ctx);
}

/// Norms and rotates queries and keys of tokens [begin, begin + rows) of a sequence, qkv [rows, q |
/// k | v], and keeps keys and values.
void Block::place(const BlockPass& pass, const SequenceRows& sequence, int64_t begin,
                  Matrix<float> qkv, Isa isa) const {
  const ModelConfig& c = files_.config;
  const int64_t q_width = c.q_width(), kv_width = c.kv_width(), count = qkv.rows;
  const Matrix<float> q(qkv.data, count, q_width, qkv.stride);
  const Matrix<float> k(qkv.data + q_width, count, kv_width, qkv.stride);
  const Matrix<float> v(qkv.data + q_width + kv_width, count, kv_width, qkv.stride);
  if (q_norm_) norm_rows_serial(c, *q_norm_, q, q, isa);
  if (k_norm_) norm_rows_serial(c, *k_norm_, k, k, isa);
  if (const RopeTable* rope = pass.ropes != nullptr ? pass.ropes->find(kind_.rope) : nullptr) {
    const Matrix<float> qk(qkv.data, count, q_width + kv_width, qkv.stride);
    rope->apply(c.head_dim, qk, sequence.rope_row + begin);
  }
  if (sequence.cache == nullptr) return;
  sequence.cache->layer(layer_).write(sequence.past() + begin, k, v, isa);
}

// narrow [tokens, hidden]: the normed stream, replaced by what the MLP adds to it.
// @return true if stopped.
bool Block::run_mlp(Matrix<float> narrow, BlockBuffers& buffers, const InputWatch& watch,
                    const Context& ctx) const {
  if (experts_) return experts_->run(narrow, buffers.experts, buffers.wide, watch, ctx);
  if (watch.show(*mlp_.in, narrow)) return true;
  const Matrix<float> mid = mlp_.mid(files_.config, narrow, buffers.wide, ctx);
  if (watch.show(*mlp_.out, mid)) return true;
  mlp_.out->apply(mid, narrow, ctx);
  return false;
}

}  // namespace twofold
