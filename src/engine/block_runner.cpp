#include "engine/block_runner.h"

#include "engine/block.h"
#include "engine/embedding.h"

namespace twofold {

struct BlockRunner::Impl {
  Impl(const ModelFiles& files_, int layer)
      : files(files_), block(files_, layer), ropes(files_.config) {}

  const BlockPass& pass_for(int64_t tokens);

  const ModelFiles& files;
  Block block;
  BlockBuffers buffers;
  AlignedBuffer<float> observed;  // the stream that observe() works on
  BlockPass pass;
  Ropes ropes;
  std::optional<RopeTables> tables;  // for `rope_positions`, from 0
  int64_t rope_positions = 0;
};

const BlockPass& BlockRunner::Impl::pass_for(int64_t tokens) {
  const ModelConfig& c = files.config;
  if (tokens > c.context) {
    fail(ErrorCode::kInvalidArgument, "context", "{} positions are beyond the model's {}", tokens,
         c.context);
  }
  if (ropes.depend_on_length() ? tokens != rope_positions : tokens > rope_positions) {
    pass.ropes = &tables.emplace(ropes);
    tables->add(0, tokens, tokens);
    rope_positions = tokens;
  }
  pass.sequences.assign(1, {.count = tokens});
  pass.tokens = tokens;
  return pass;
}

BlockRunner::BlockRunner(const ModelFiles& files, int layer)
    : impl_(std::make_unique<Impl>(files, layer)) {}
BlockRunner::~BlockRunner() = default;

void BlockRunner::replace(std::string_view slot, const PackedMatrix& packed,
                          const TransformSpec& transform) {
  impl_->block.replace(slot, packed, transform);
}

void BlockRunner::run(Matrix<float> stream, const Context& ctx,
                      const InputObserver& observer) const {
  if (stream.rows == 0) return;
  impl_->block.run(impl_->pass_for(stream.rows), stream, impl_->buffers, ctx, observer);
}

void BlockRunner::observe(Matrix<const float> stream, std::string_view last, const Context& ctx,
                          const InputObserver& observer) const {
  if (!last.empty() && !impl_->block.has_input(last)) {
    fail(ErrorCode::kInvalidArgument, last, "is no input of this block");
  }
  if (stream.rows == 0) return;
  AlignedBuffer<float>& copy = impl_->observed;
  copy.ensure(static_cast<size_t>(stream.rows * stream.cols));
  const Matrix<float> x(copy.data(), stream.rows, stream.cols);
  for (int64_t r = 0; r < x.rows; ++r) std::ranges::copy(stream.row(r), x.row(r).begin());
  impl_->block.run(impl_->pass_for(x.rows), x, impl_->buffers, ctx, observer,
                   last.empty() ? impl_->block.last_input() : last);
}

void embed_sequence(const ModelFiles& files, std::span<const int32_t> ids, Matrix<float> stream,
                    const Context& ctx) {
  TWOFOLD_ASSERT(stream.rows == static_cast<int64_t>(ids.size()));
  TWOFOLD_ASSERT(stream.cols == files.config.hidden);
  Embedding(files).look_up(ids, 0, stream, ctx);
}

}  // namespace twofold
