#include "engine/embedding.h"

#include "tensor/ops.h"

namespace twofold {
namespace {

/// A matrix whose rows are looked up.
std::unique_ptr<Linear> table(const ModelFiles& files, const Slot& slot) {
  auto matrix = std::make_unique<Linear>(files, slot, nullptr);
  if (!matrix->in_model_basis()) {
    fail(ErrorCode::kUnsupported, fmt::format("{}: {}", files.path.string(), slot.name),
         "expected a table in the model's own basis, found transform {}", slot.transform.dump());
  }
  return matrix;
}

}  // namespace

Embedding::Embedding(const ModelFiles& files)
    : config_(files.config), norm_(read_norm(files, "embed_norm")) {
  for (const Slot& slot : files.slots) {
    if (slot.role == Role::kEmbedding) tokens_ = table(files, slot);
    if (slot.role == Role::kPosition) positions_ = table(files, slot);
  }
  if (const Slot* slot = files.find("project_in")) {
    project_in_ = std::make_unique<Linear>(files, *slot, nullptr);
  }
  TWOFOLD_ASSERT(tokens_ != nullptr);
}

void Embedding::look_up_tokens(std::span<const int32_t> ids, Matrix<float> x) const {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= config_.vocab_size) {
      fail(ErrorCode::kInvalidArgument, "token id", "{} is outside the vocabulary of {} tokens",
           ids[i], config_.vocab_size);
    }
    tokens_->row(ids[i], x.row(static_cast<int64_t>(i)).data());
  }
}

void Embedding::look_up(std::span<const int32_t> ids, int64_t first, Matrix<float> x,
                        const Context& ctx) const {
  const Ops& op = ops(ctx.isa);
  if (project_in_ != nullptr) {
    const int64_t width = tokens_->cols();
    AlignedBuffer<float> memory(ids.size() * static_cast<size_t>(width));
    const Matrix<float> narrow(memory.data(), x.rows, width);
    look_up_tokens(ids, narrow);
    project_in_->apply(narrow, x, ctx);
  } else {
    look_up_tokens(ids, x);
  }
  std::vector<float> position(positions_ != nullptr ? static_cast<size_t>(x.cols) : 0);
  for (int64_t r = 0; r < x.rows; ++r) {
    float* row = x.row(r).data();
    if (config_.embedding_scale != 1) {
      op.scale(static_cast<float>(config_.embedding_scale), row, x.cols);
    }
    if (positions_ == nullptr) continue;
    positions_->row(first + r + config_.position_offset, position.data());
    op.add(position.data(), row, x.cols);
  }
  if (norm_) norm_rows(config_, *norm_, x, x, ctx);
}

}  // namespace twofold
