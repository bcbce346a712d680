#include "engine/model.h"

#include <algorithm>
#include <map>

#include "engine/block.h"
#include "engine/embedding.h"
#include "engine/linear.h"
#include "model/rope_factors.h"
#include "tensor/ops.h"

namespace twofold {

struct Model::Impl {
  explicit Impl(ModelFiles files_);

  ModelFiles files;
  Embedding embedding;
  std::vector<Block> blocks;
  std::unique_ptr<Linear> head;         // null: tied to the embedding
  std::unique_ptr<Linear> project_out;  // null: the head is as wide as the stream
  std::optional<Norm> final_norm;
  Ropes ropes;
  int64_t bytes_per_token = 0;

  const Linear& head_matrix() const { return head ? *head : embedding.tokens(); }
};

Model::Impl::Impl(ModelFiles files_)
    : files(std::move(files_)),
      embedding(files),
      final_norm(read_norm(files, "final_norm")),
      ropes(files.config) {
  const ModelConfig& c = files.config;
  blocks.reserve(static_cast<size_t>(c.layers));
  for (int64_t i = 0; i < c.layers; ++i) {
    blocks.emplace_back(files, static_cast<int>(i));
    bytes_per_token += blocks.back().stored_bytes();
  }
  for (const Slot& slot : files.slots) {
    if (slot.role == Role::kHead) head = std::make_unique<Linear>(files, slot, nullptr);
  }
  if (const Slot* slot = files.find("project_out")) {
    project_out = std::make_unique<Linear>(files, *slot, nullptr);
    bytes_per_token += project_out->stored_bytes();
  }
  bytes_per_token += head_matrix().stored_bytes();
}

namespace {

/// Rows of angles for every sequence; those that start at one position share them, unless it
/// matters how long they may become.
void add_positions(std::span<SequenceRows> sequences, RopeTables& ropes) {
  using Start = std::pair<int64_t, int64_t>;  // first position, most positions
  const auto start_of = [&](const SequenceRows& rows) {
    return Start(rows.past(), ropes.ropes().depend_on_length() ? rows.most() : 0);
  };
  std::map<Start, int64_t> longest;  // -> tokens
  for (const SequenceRows& rows : sequences) {
    int64_t& count = longest[start_of(rows)];
    count = std::max(count, rows.count);
  }
  std::map<Start, int64_t> first_row;
  for (const auto& [start, count] : longest) {
    first_row[start] = ropes.add(start.first, count, start.second);
  }
  for (SequenceRows& rows : sequences) rows.rope_row = first_row[start_of(rows)];
}

}  // namespace

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::~Model() = default;

std::shared_ptr<const Model> Model::load(const std::filesystem::path& path) {
  return load(open_model(path));
}

std::shared_ptr<const Model> Model::load(ModelFiles files) {
  return std::shared_ptr<const Model>(new Model(std::make_unique<Impl>(std::move(files))));
}

const ModelConfig& Model::config() const { return impl_->files.config; }
const ModelFiles& Model::files() const { return impl_->files; }
int64_t Model::bytes_per_token() const { return impl_->bytes_per_token; }

AlignedBuffer<float> Model::forward(std::span<const SequenceInput> batch, const Context& ctx,
                                    const InputObserver& observer) const {
  const ModelConfig& c = config();
  BlockPass pass;
  for (const SequenceInput& sequence : batch) {
    const SequenceRows rows{.count = static_cast<int64_t>(sequence.ids.size()),
                            .cache = sequence.cache};
    if (rows.count == 0) fail(ErrorCode::kInvalidArgument, "sequence", "expected ids, found none");
    if (rows.past() + rows.count > c.context) {
      fail(ErrorCode::kInvalidArgument, "context", "{} positions are beyond the model's {}",
           rows.past() + rows.count, c.context);
    }
    if (rows.past() > 0 && !same_angles(c, rows.cache->turned_for(), rows.most())) {
      fail(ErrorCode::kInvalidArgument, "cache",
           "expected keys of a sequence of {} positions, found those of one of {}: LongRoPE turns "
           "them by other angles",
           rows.most(), rows.cache->turned_for());
    }
    if (rows.cache != nullptr) rows.cache->reserve(rows.count);
    pass.tokens += rows.count;
    pass.sequences.push_back(rows);
  }
  if (pass.tokens == 0) return {};
  AlignedBuffer<float> stream(static_cast<size_t>(pass.tokens * c.hidden));
  const Matrix<float> x(stream.data(), pass.tokens, c.hidden);
  int64_t row = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    const SequenceRows& rows = pass.sequences[i];
    impl_->embedding.look_up(batch[i].ids, rows.past(), {x.row(row).data(), rows.count, c.hidden},
                             ctx);
    row += rows.count;
  }
  RopeTables ropes(impl_->ropes);
  pass.ropes = &ropes;
  add_positions(pass.sequences, ropes);
  BlockBuffers buffers;
  for (const Block& block : impl_->blocks) {
    ctx.check_cancelled();
    block.run(pass, x, buffers, ctx, observer);
  }
  for (const SequenceRows& rows : pass.sequences) {
    if (rows.cache != nullptr) rows.cache->advance(rows.count);
  }
  if (impl_->final_norm) norm_rows(c, *impl_->final_norm, x, x, ctx);
  return stream;
}

void Model::forward_from(int first_block, Matrix<float> stream, int64_t length,
                         const Context& ctx) const {
  TWOFOLD_ASSERT(length > 0 && stream.rows % length == 0 && length <= config().context);
  BlockPass pass;
  pass.tokens = stream.rows;
  pass.sequences.assign(static_cast<size_t>(stream.rows / length), {.count = length});
  RopeTables ropes(impl_->ropes);
  pass.ropes = &ropes;
  add_positions(pass.sequences, ropes);
  BlockBuffers buffers;
  for (size_t i = static_cast<size_t>(first_block); i < impl_->blocks.size(); ++i) {
    ctx.check_cancelled();
    impl_->blocks[i].run(pass, stream, buffers, ctx, {});
  }
  if (impl_->final_norm) norm_rows(config(), *impl_->final_norm, stream, stream, ctx);
}

void Model::logits(Matrix<const float> hidden, Matrix<float> out, const Context& ctx) const {
  const ModelConfig& c = config();
  if (impl_->project_out != nullptr) {
    const int64_t width = impl_->project_out->rows();
    AlignedBuffer<float> memory(static_cast<size_t>(hidden.rows * width));
    const Matrix<float> narrow(memory.data(), hidden.rows, width);
    impl_->project_out->apply(hidden, narrow, ctx);
    impl_->head_matrix().apply(narrow, out, ctx);
  } else {
    impl_->head_matrix().apply(hidden, out, ctx);
  }
  const Ops& op = ops(ctx.isa);
  for (int64_t r = 0; r < out.rows; ++r) {
    float* row = out.row(r).data();
    const float scale = static_cast<float>(c.logit_scale);
    if (c.logit_softcap > 0) {
      op.soft_cap(scale, static_cast<float>(c.logit_softcap), row, out.cols);
    } else if (c.logit_scale != 1) {
      op.scale(scale, row, out.cols);
    }
  }
}

}  // namespace twofold
