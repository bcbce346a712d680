#include "engine/block.h"

#include <algorithm>
#include <array>

#include "base/checked_math.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

constexpr int64_t kRowsPerItem = 16;

/// Calls body(begin, end) over chunks of rows, in parallel if there are enough of them.
template <class Body>
void for_rows(int64_t rows, const Context& ctx, const Body& body) {
  if (rows <= kRowsPerItem) {
    body(int64_t{0}, rows);
    return;
  }
  ctx.pool.run_static(ceil_div(rows, kRowsPerItem), [&](int64_t begin, int64_t end, int) {
    body(begin * kRowsPerItem, std::min(end * kRowsPerItem, rows));
  });
}

using ActivationFn = void (*)(const float*, float*, int64_t);
ActivationFn activation_of(Activation activation, const Ops& op) {
  switch (activation) {
    case Activation::kGeluErf:
      return op.gelu_erf;
    case Activation::kGeluTanh:
      return op.gelu_tanh;
    case Activation::kSilu:
      return op.silu;
    case Activation::kRelu:
      return op.relu;
  }
  fail(ErrorCode::kInternal, "activation", "not listed");
}

/// A matrix whose rows are looked up.
std::unique_ptr<Linear> table(const ModelFiles& files, const Slot& slot) {
  auto matrix = std::make_unique<Linear>(files, slot, nullptr);
  if (!matrix->in_model_basis()) {
    fail(ErrorCode::kUnsupported, fmt::format("{}: {}", files.path.string(), slot.name),
         "expected a table in the model's own basis, found transform {}", slot.transform.dump());
  }
  return matrix;
}

/// Shows the input to the observer. @return true if nothing after it is wanted.
bool show(const InputGroup& group, Matrix<const float> x, const InputObserver& observer,
          std::string_view stop_at) {
  if (observer) observer(group.input, x);
  return !stop_at.empty() && group.input == stop_at;
}

/// What the linears share of their input is made once.
void apply(const InputGroup& group, Matrix<const float> x, Matrix<float> y, const Context& ctx) {
  LinearInput input(x, group.one_basis);
  int64_t column = 0;
  for (const auto& linear : group.linears) {
    linear->apply(input, {y.data + column, y.rows, linear->rows(), y.stride}, ctx);
    column += linear->rows();
  }
}

/// x += added, both [tokens, hidden].
void add_rows(Matrix<const float> added, Matrix<float> x, const Context& ctx) {
  const Ops& op = ops(ctx.isa);
  for_rows(x.rows, ctx, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) op.add(added.row(r).data(), x.row(r).data(), x.cols);
  });
}

int64_t qkv_width(const ModelConfig& c) { return c.q_width() + 2 * c.kv_width(); }
int64_t mlp_in_width(const ModelConfig& c) { return c.intermediate * (c.gated_mlp ? 2 : 1); }

}  // namespace

Norm read_norm(const ModelFiles& files, const std::string& slot) {
  Norm norm;
  const Slot* weight = files.find(slot);
  if (weight == nullptr) fail(ErrorCode::kInternal, slot, "the family has no such slot");
  norm.weight = read_vector(*weight);
  if (const Slot* bias = files.find(slot + ".bias")) norm.bias = read_vector(*bias);
  return norm;
}

void norm_rows(const ModelConfig& config, const Norm& norm, Matrix<const float> x, Matrix<float> y,
               const Context& ctx) {
  const Ops& op = ops(ctx.isa);
  const float eps = static_cast<float>(config.norm_eps);
  const bool rms = config.norm == NormKind::kRmsNorm;
  for_rows(x.rows, ctx, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (rms) {
        op.rms_norm(x.row(r).data(), norm.weight.data(), eps, y.row(r).data(), x.cols);
      } else {
        op.layer_norm(x.row(r).data(), norm.weight.data(),
                      norm.bias.empty() ? nullptr : norm.bias.data(), eps, y.row(r).data(), x.cols);
      }
    }
  });
}

Embedding::Embedding(const ModelFiles& files) : vocab_size_(files.config.vocab_size) {
  for (const Slot& slot : files.slots) {
    if (slot.role == Role::kEmbedding) tokens_ = table(files, slot);
    if (slot.role == Role::kPosition) positions_ = table(files, slot);
  }
  TWOFOLD_ASSERT(tokens_ != nullptr);
}

void Embedding::look_up(std::span<const int32_t> ids, int64_t first, Matrix<float> x,
                        const Context& ctx) const {
  const Ops& op = ops(ctx.isa);
  std::vector<float> position_row(static_cast<size_t>(x.cols));
  for (size_t i = 0; i < ids.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i);
    if (ids[i] < 0 || ids[i] >= vocab_size_) {
      fail(ErrorCode::kInvalidArgument, "token id", "{} is outside the vocabulary of {} tokens",
           ids[i], vocab_size_);
    }
    tokens_->row(ids[i], x.row(row).data());
    if (positions_ != nullptr) {
      positions_->row(first + row, position_row.data());
      op.add(position_row.data(), x.row(row).data(), x.cols);
    }
  }
}

void BlockBuffers::ensure(const ModelConfig& c, int64_t tokens) {
  const int64_t attention = qkv_width(c) + c.q_width();
  const int64_t mlp = mlp_in_width(c) + c.intermediate;
  narrow.ensure(static_cast<size_t>(tokens * c.hidden));
  wide.ensure(static_cast<size_t>(tokens * std::max(attention, mlp)));
}

void InputGroup::find_basis() {
  one_basis = std::ranges::all_of(
      linears, [&](const auto& linear) { return linear->shares_input(*linears.front()); });
}

Block::Block(const ModelFiles& files, int layer) : files_(files), layer_(layer) {
  TWOFOLD_ASSERT(layer >= 0 && layer < files.config.layers);
  for (const Slot& slot : files.slots) {
    if (slot.layer != layer) continue;
    InputGroup* group = nullptr;
    switch (slot.role) {
      case Role::kAttentionIn:
        group = &attention_in_;
        break;
      case Role::kAttentionOut:
        group = &attention_out_;
        break;
      case Role::kMlpIn:
        group = &mlp_in_;
        break;
      case Role::kMlpOut:
        group = &mlp_out_;
        break;
      case Role::kEmbedding:
      case Role::kPosition:
      case Role::kHead:
      case Role::kNorm:
      case Role::kBias:
        continue;
    }
    group->input = slot.input;
    group->slots.push_back(slot.slot);
    group->linears.push_back(
        std::make_unique<Linear>(files, slot, files.find(slot.slot + ".bias")));
  }
  for (InputGroup* group : {&attention_in_, &attention_out_, &mlp_in_, &mlp_out_}) {
    group->find_basis();
  }
  const std::string prefix = fmt::format("layers.{}.", layer);
  attention_norm_ = read_norm(files, prefix + "attn_norm");
  mlp_norm_ = read_norm(files, prefix + "mlp_norm");
}

int64_t Block::stored_bytes() const {
  int64_t bytes = 0;
  for (const InputGroup* group : {&attention_in_, &attention_out_, &mlp_in_, &mlp_out_}) {
    for (const auto& linear : group->linears) bytes += linear->stored_bytes();
  }
  return bytes;
}

void Block::replace(std::string_view slot, const PackedMatrix& packed,
                    const TransformSpec& transform) {
  for (InputGroup* group : {&attention_in_, &attention_out_, &mlp_in_, &mlp_out_}) {
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
  for (const InputGroup* group : {&attention_in_, &attention_out_, &mlp_in_, &mlp_out_}) {
    if (group->input == input) return true;
  }
  return false;
}

void Block::run(const BlockPass& pass, Matrix<float> x, BlockBuffers& buffers, const Context& ctx,
                const InputObserver& observer, std::string_view stop_at) const {
  const ModelConfig& c = files_.config;
  TWOFOLD_ASSERT(x.rows == pass.tokens && x.cols == c.hidden);
  buffers.ensure(c, pass.tokens);
  const Matrix<float> narrow(buffers.narrow.data(), pass.tokens, c.hidden);
  norm_rows(c, attention_norm_, x, narrow, ctx);
  if (run_attention(pass, narrow, buffers, ctx, observer, stop_at)) return;
  add_rows(narrow, x, ctx);
  norm_rows(c, mlp_norm_, x, narrow, ctx);
  if (run_mlp(narrow, buffers, ctx, observer, stop_at)) return;
  add_rows(narrow, x, ctx);
}

// narrow [tokens, hidden]: the normed stream, replaced by what attention adds to it.
// @return true if stopped.
bool Block::run_attention(const BlockPass& pass, Matrix<float> narrow, BlockBuffers& buffers,
                          const Context& ctx, const InputObserver& observer,
                          std::string_view stop_at) const {
  const ModelConfig& c = files_.config;
  const Matrix<float> qkv(buffers.wide.data(), pass.tokens, qkv_width(c));
  const Matrix<float> attended(qkv.data + qkv.rows * qkv.cols, pass.tokens, c.q_width());
  if (show(attention_in_, narrow, observer, stop_at)) return true;
  apply(attention_in_, narrow, qkv, ctx);
  attend(pass, qkv.data, attended.data, ctx);
  if (show(attention_out_, attended, observer, stop_at)) return true;
  apply(attention_out_, attended, narrow, ctx);
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
  const auto place = [&](int64_t item, int) {
    const Chunk& chunk = chunks[static_cast<size_t>(item)];
    const SequenceRows& sequence = *chunk.sequence;
    float* base = qkv + (chunk.row + chunk.begin) * stride;
    const Matrix<float> qk(base, chunk.count, q_width + kv_width, stride);
    if (pass.rope != nullptr) pass.rope->apply(c.head_dim, qk, sequence.rope_row + chunk.begin);
    if (sequence.cache == nullptr) return;
    const Matrix<const float> k(base + q_width, chunk.count, kv_width, stride);
    const Matrix<const float> v(base + q_width + kv_width, chunk.count, kv_width, stride);
    sequence.cache->layer(layer_).write(sequence.past() + chunk.begin, k, v, ctx.isa);
  };
  if (chunks.size() == 1) {
    place(0, 0);
  } else {
    ctx.pool.run(std::ssize(chunks), place);
  }
  const double scale = c.attention_scale_by_layer
                           ? c.attention_scale / static_cast<double>(layer_ + 1)
                           : c.attention_scale;
  attention(inputs, c, scale, ctx);
}

// narrow [tokens, hidden]: the normed stream, replaced by what the MLP adds to it.
// @return true if stopped.
bool Block::run_mlp(Matrix<float> narrow, BlockBuffers& buffers, const Context& ctx,
                    const InputObserver& observer, std::string_view stop_at) const {
  const ModelConfig& c = files_.config;
  const Ops& op = ops(ctx.isa);
  const int64_t n = c.intermediate;
  const Matrix<float> in(buffers.wide.data(), narrow.rows, mlp_in_width(c));
  const Matrix<float> mid(in.data + in.rows * in.cols, narrow.rows, n);
  if (show(mlp_in_, narrow, observer, stop_at)) return true;
  apply(mlp_in_, narrow, in, ctx);
  const ActivationFn activation = activation_of(c.activation, op);
  const bool silu = c.activation == Activation::kSilu;
  for_rows(narrow.rows, ctx, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* gate = in.row(r).data();
      float* y = mid.row(r).data();
      if (c.gated_mlp && silu) {
        op.silu_mul(gate, gate + n, y, n);
        continue;
      }
      activation(gate, y, n);
      if (c.gated_mlp) {
        for (int64_t i = 0; i < n; ++i) y[i] *= gate[n + i];
      }
    }
  });
  if (show(mlp_out_, mid, observer, stop_at)) return true;
  apply(mlp_out_, mid, narrow, ctx);
  return false;
}

}  // namespace twofold
