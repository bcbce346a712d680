#include "engine/model.h"

#include <algorithm>
#include <cstring>

#include "base/checked_math.h"
#include "engine/attention.h"
#include "engine/linear.h"
#include "model/rope_factors.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

struct Norm {
  std::vector<float> weight, bias;  // [hidden]; bias may be empty
};

/// Linears that read one input and write side by side into one row of outputs.
struct InputGroup {
  std::string input;  // Slot::input
  std::vector<std::unique_ptr<Linear>> linears;
};

struct Block {
  Norm attention_norm, mlp_norm;
  InputGroup attention_in;   // writes q | k | v
  InputGroup attention_out;  // one
  InputGroup mlp_in;         // writes gate | up, or up
  InputGroup mlp_out;        // one
};

Norm read_norm(const ModelFiles& files, const std::string& slot) {
  Norm norm;
  const Slot* weight = files.find(slot);
  if (weight == nullptr) fail(ErrorCode::kInternal, slot, "the family has no such slot");
  norm.weight = read_vector(*weight);
  if (const Slot* bias = files.find(slot + ".bias")) norm.bias = read_vector(*bias);
  return norm;
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

/// Activations of one forward pass; rows are the tokens of all sequences, one after the other.
struct Workspace {
  Workspace(const ModelConfig& c, int64_t tokens_)
      : tokens(tokens_),
        normed(size(c.hidden)),
        qkv(size(c.q_width() + 2 * c.kv_width())),
        attended(size(c.q_width())),
        mlp_in(size(c.intermediate * (c.gated_mlp ? 2 : 1))),
        mlp_mid(size(c.intermediate)),
        added(size(c.hidden)) {}
  size_t size(int64_t width) const { return static_cast<size_t>(tokens * width); }

  int64_t tokens;
  AlignedBuffer<float> normed, qkv, attended, mlp_in, mlp_mid, added;
};

}  // namespace

struct Model::Impl {
  ModelFiles files;
  std::unique_ptr<Linear> embed, position, head;  // head null: tied to embed
  std::vector<Block> blocks;
  Norm final_norm;
  std::vector<float> rope_frequencies;
  int64_t bytes_per_token = 0;

  const Linear& head_matrix() const { return head ? *head : *embed; }

  void bind();
  void bind_block_slot(const Slot& slot);
  void norm_rows(const Norm& norm, Matrix<const float> x, Matrix<float> y,
                 const Context& ctx) const;
  void embed_tokens(std::span<const SequenceInput> batch, Matrix<float> x,
                    const Context& ctx) const;
  void run_attention(int64_t layer, std::span<const SequenceInput> batch, const RopeTable* rope,
                     int64_t rope_first, Workspace& w, const Context& ctx) const;
  void run_mlp(const Block& block, Workspace& w, const Context& ctx,
               const InputObserver& observer) const;
};

namespace {

void apply_group(const InputGroup& group, Matrix<const float> x, Matrix<float> y,
                 const Context& ctx, const InputObserver& observer) {
  if (observer) observer(group.input, x);
  int64_t column = 0;
  for (const auto& linear : group.linears) {
    linear->apply(x, {y.data + column, y.rows, linear->rows(), y.stride}, ctx);
    column += linear->rows();
  }
}

}  // namespace

Model::Model() : impl_(std::make_unique<Impl>()) {}
Model::~Model() = default;

std::shared_ptr<const Model> Model::load(const std::filesystem::path& path) {
  return load(open_model(path));
}

std::shared_ptr<const Model> Model::load(ModelFiles files) {
  std::shared_ptr<Model> model(new Model());
  model->impl_->files = std::move(files);
  model->impl_->bind();
  return model;
}

const ModelConfig& Model::config() const { return impl_->files.config; }
const ModelFiles& Model::files() const { return impl_->files; }
int64_t Model::bytes_per_token() const { return impl_->bytes_per_token; }

void Model::Impl::bind_block_slot(const Slot& slot) {
  Block& block = blocks[static_cast<size_t>(slot.layer)];
  InputGroup* group = nullptr;
  switch (slot.role) {
    case Role::kAttentionIn:
      group = &block.attention_in;
      break;
    case Role::kAttentionOut:
      group = &block.attention_out;
      break;
    case Role::kMlpIn:
      group = &block.mlp_in;
      break;
    case Role::kMlpOut:
      group = &block.mlp_out;
      break;
    case Role::kEmbedding:
    case Role::kPosition:
    case Role::kHead:
    case Role::kNorm:
    case Role::kBias:
      return;
  }
  group->input = slot.input;
  group->linears.push_back(std::make_unique<Linear>(files, slot, files.find(slot.slot + ".bias")));
  bytes_per_token += group->linears.back()->stored_bytes();
}

void Model::Impl::bind() {
  const ModelConfig& c = files.config;
  blocks.resize(static_cast<size_t>(c.layers));
  for (const Slot& slot : files.slots) {
    if (slot.layer >= 0) {
      bind_block_slot(slot);
    } else if (slot.role == Role::kEmbedding) {
      embed = table(files, slot);
    } else if (slot.role == Role::kPosition) {
      position = table(files, slot);
    } else if (slot.role == Role::kHead) {
      head = std::make_unique<Linear>(files, slot, nullptr);
    }
  }
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string prefix = fmt::format("layers.{}.", i);
    blocks[static_cast<size_t>(i)].attention_norm = read_norm(files, prefix + "attn_norm");
    blocks[static_cast<size_t>(i)].mlp_norm = read_norm(files, prefix + "mlp_norm");
  }
  final_norm = read_norm(files, "final_norm");
  if (c.position == PositionKind::kRope) rope_frequencies = twofold::rope_frequencies(c.rope);
  bytes_per_token += head_matrix().stored_bytes();
}

void Model::Impl::norm_rows(const Norm& norm, Matrix<const float> x, Matrix<float> y,
                            const Context& ctx) const {
  const Ops& op = ops(ctx.isa);
  const float eps = static_cast<float>(files.config.norm_eps);
  const bool rms = files.config.norm == NormKind::kRmsNorm;
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

void Model::Impl::embed_tokens(std::span<const SequenceInput> batch, Matrix<float> x,
                               const Context& ctx) const {
  const Ops& op = ops(ctx.isa);
  std::vector<float> table_row(static_cast<size_t>(x.cols));
  int64_t row = 0;
  for (const SequenceInput& sequence : batch) {
    int64_t at = sequence.cache != nullptr ? sequence.cache->length() : 0;
    for (const int32_t id : sequence.ids) {
      if (id < 0 || id >= files.config.vocab_size) {
        fail(ErrorCode::kInvalidArgument, "token id", "{} is outside the vocabulary of {} tokens",
             id, files.config.vocab_size);
      }
      embed->row(id, x.row(row).data());
      if (position) {
        position->row(at, table_row.data());
        op.add(table_row.data(), x.row(row).data(), x.cols);
      }
      ++at;
      ++row;
    }
  }
}

void Model::Impl::run_attention(int64_t layer, std::span<const SequenceInput> batch,
                                const RopeTable* rope, int64_t rope_first, Workspace& w,
                                const Context& ctx) const {
  const ModelConfig& c = files.config;
  const int64_t q_width = c.q_width(), kv_width = c.kv_width(), stride = q_width + 2 * kv_width;
  std::vector<AttentionInput> inputs;
  int64_t row = 0;
  for (const SequenceInput& sequence : batch) {
    const int64_t count = static_cast<int64_t>(sequence.ids.size());
    const int64_t past = sequence.cache != nullptr ? sequence.cache->length() : 0;
    float* base = w.qkv.data() + row * stride;
    const Matrix<float> q(base, count, q_width, stride);
    Matrix<float> k(base + q_width, count, kv_width, stride);
    Matrix<float> v(base + q_width + kv_width, count, kv_width, stride);
    if (rope != nullptr) {
      // The table starts at rope_first; the sequence at `past`.
      const int64_t shift = past - rope_first;
      for_rows(count, ctx, [&](int64_t begin, int64_t end) {
        for (Matrix<float> x : {q, k}) {
          x.data -= shift * stride;
          x.rows += shift;
          rope->apply(c.head_dim, x, begin + shift, end + shift);
        }
      });
    }
    if (sequence.cache != nullptr) {
      const Matrix<float> keys = sequence.cache->keys(layer, past + count);
      const Matrix<float> values = sequence.cache->values(layer, past + count);
      for (int64_t i = 0; i < count; ++i) {
        std::memcpy(keys.row(past + i).data(), k.row(i).data(), k.row(i).size_bytes());
        std::memcpy(values.row(past + i).data(), v.row(i).data(), v.row(i).size_bytes());
      }
      k = keys;
      v = values;
    }
    inputs.push_back({q, k, v, Matrix<float>(w.attended.data() + row * q_width, count, q_width)});
    row += count;
  }
  const double scale = c.attention_scale_by_layer
                           ? c.attention_scale / static_cast<double>(layer + 1)
                           : c.attention_scale;
  attention(inputs, c, scale, ctx);
}

void Model::Impl::run_mlp(const Block& block, Workspace& w, const Context& ctx,
                          const InputObserver& observer) const {
  const ModelConfig& c = files.config;
  const Ops& op = ops(ctx.isa);
  const int64_t n = c.intermediate;
  const Matrix<float> in(w.mlp_in.data(), w.tokens, c.gated_mlp ? 2 * n : n);
  const Matrix<float> mid(w.mlp_mid.data(), w.tokens, n);
  apply_group(block.mlp_in, Matrix<const float>(w.normed.data(), w.tokens, c.hidden), in, ctx,
              observer);
  const ActivationFn activation = activation_of(c.activation, op);
  const bool silu = c.activation == Activation::kSilu;
  for_rows(w.tokens, ctx, [&](int64_t begin, int64_t end) {
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
  apply_group(block.mlp_out, mid, {w.added.data(), w.tokens, c.hidden}, ctx, observer);
}

AlignedBuffer<float> Model::forward(std::span<const SequenceInput> batch, const Context& ctx,
                                    const InputObserver& observer) const {
  const ModelConfig& c = config();
  int64_t tokens = 0, first = INT64_MAX, last = 0;
  for (const SequenceInput& sequence : batch) {
    const int64_t count = static_cast<int64_t>(sequence.ids.size());
    const int64_t past = sequence.cache != nullptr ? sequence.cache->length() : 0;
    if (count == 0) fail(ErrorCode::kInvalidArgument, "sequence", "expected ids, found none");
    if (past + count > c.context) {
      fail(ErrorCode::kInvalidArgument, "context", "{} positions are beyond the model's {}",
           past + count, c.context);
    }
    if (sequence.cache != nullptr) sequence.cache->reserve(count);
    first = std::min(first, past);
    last = std::max(last, past + count);
    tokens += count;
  }
  if (tokens == 0) return {};
  AlignedBuffer<float> stream(static_cast<size_t>(tokens * c.hidden));
  const Matrix<float> x(stream.data(), tokens, c.hidden);
  impl_->embed_tokens(batch, x, ctx);
  std::optional<RopeTable> rope;
  if (c.position == PositionKind::kRope) {
    rope.emplace(impl_->rope_frequencies, first, last - first);
  }
  Workspace w(c, tokens);
  const Matrix<float> normed(w.normed.data(), tokens, c.hidden);
  const Matrix<const float> added(w.added.data(), tokens, c.hidden);
  const Ops& op = ops(ctx.isa);
  const auto add_to_stream = [&] {
    for_rows(tokens, ctx, [&](int64_t begin, int64_t end) {
      op.add(added.row(begin).data(), x.row(begin).data(), (end - begin) * c.hidden);
    });
  };
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    ctx.check_cancelled();
    const Block& block = impl_->blocks[static_cast<size_t>(layer)];
    impl_->norm_rows(block.attention_norm, x, normed, ctx);
    apply_group(block.attention_in, normed, {w.qkv.data(), tokens, c.q_width() + 2 * c.kv_width()},
                ctx, observer);
    impl_->run_attention(layer, batch, rope ? &*rope : nullptr, first, w, ctx);
    apply_group(block.attention_out, Matrix<const float>(w.attended.data(), tokens, c.q_width()),
                {w.added.data(), tokens, c.hidden}, ctx, observer);
    add_to_stream();
    impl_->norm_rows(block.mlp_norm, x, normed, ctx);
    impl_->run_mlp(block, w, ctx, observer);
    add_to_stream();
  }
  for (const SequenceInput& sequence : batch) {
    if (sequence.cache != nullptr) {
      sequence.cache->advance(static_cast<int64_t>(sequence.ids.size()));
    }
  }
  impl_->norm_rows(impl_->final_norm, x, x, ctx);
  return stream;
}

void Model::logits(Matrix<const float> hidden, Matrix<float> out, const Context& ctx) const {
  impl_->head_matrix().apply(hidden, out, ctx);
}

}  // namespace twofold
