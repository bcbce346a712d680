#include "pipeline/dense_weights.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>

#include "base/checked_math.h"
#include "base/finite.h"
#include "base/float16.h"
#include "base/large_pages.h"

namespace twofold {
namespace {

constexpr int64_t kPanelElements = 1 << 20;  // of a streamed tensor, in memory at once
constexpr int64_t kChunkElements = 1 << 15;  // handed to one thread

int64_t rows_for(int64_t elements, int64_t cols) {
  return std::max<int64_t>(1, elements / std::max<int64_t>(1, cols));
}

/// Position of the first number, in row-major order, that a check refuses.
class FirstBad {
 public:
  void offer(int64_t index) {
    int64_t seen = index_.load(std::memory_order_relaxed);
    while (index < seen && !index_.compare_exchange_weak(seen, index)) {
    }
  }
  std::optional<int64_t> index() const {
    const int64_t index = index_.load();
    return index == INT64_MAX ? std::nullopt : std::optional(index);
  }

 private:
  std::atomic<int64_t> index_{INT64_MAX};
};

/// Index of the first number that is not finite; `count` if there is none.
int64_t find_not_finite(const float* x, int64_t count) {
  if (all_finite({x, static_cast<size_t>(count)})) return count;
  return std::find_if(x, x + count, [](float v) { return !std::isfinite(v); }) - x;
}

[[noreturn]] void refuse_not_finite(const Slot& slot, float value, int64_t row, int64_t col) {
  fail(ErrorCode::kUnsupported, fmt::format("{}: {}", slot.tensor->file, slot.name),
       "expected finite weights, found {} at row {}, column {}", value, row, col);
}

/// The stored tensor as a matrix; a vector [n] becomes [n, 1].
StoredTensor as_matrix(const StoredTensor& stored) {
  StoredTensor matrix = stored;
  if (matrix.shape.size() == 1) matrix.shape.push_back(1);
  return matrix;
}

/// Gives rows [begin, begin + count) of the tensor as it will lie in the file, [count, cols].
using RowReader = std::function<void(int64_t begin, int64_t count, float* out)>;

RowReader read_rows_of(std::shared_ptr<const RowSource> source) {
  return [source](int64_t begin, int64_t count, float* out) {
    source->decode_rows(begin, count, out, source->cols());
  };
}

/// Rows of the source with what a plain folder stores less taken off.
RowReader plain_rows(const Slot& slot) {
  RowReader read = read_rows_of(make_row_source(as_matrix(*slot.tensor), slot.view));
  const float less = slot.hf_stored_less - slot.stored_less;
  if (less == 0) return read;
  const int64_t cols = slot.shape.size() == 2 ? slot.shape[1] : 1;
  return [=](int64_t begin, int64_t count, float* out) {
    read(begin, count, out);
    for (int64_t i = 0; i < count * cols; ++i) out[i] -= less;
  };
}

/// Reads the tensor in the orientation of the output, which `slot.hf_view` says.
RowReader file_rows(const Slot& slot, const Context& ctx) {
  if (!slot.hf_view.transposed) return plain_rows(slot);
  const bool stored_so = slot.view.transposed && slot.view.row_begin == 0 &&
                         slot.view.row_count < 0 && slot.view.rope_permuted_heads == 0;
  if (stored_so) return read_rows_of(make_row_source(as_matrix(*slot.tensor)));
  // Columns of a row source cannot be read alone: the whole matrix, [out, in], is held.
  const auto matrix = std::make_shared<const AlignedBuffer<float>>(load_matrix(slot, ctx));
  const int64_t outputs = slot.shape[0], inputs = slot.shape[1];
  return [=](int64_t begin, int64_t count, float* out) {
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t j = 0; j < outputs; ++j) {
        out[i * outputs + j] = (*matrix)[static_cast<size_t>(j * inputs + begin + i)];
      }
    }
  };
}

/// Rounds x [count] to 16 bits; returns the index of the first number that became infinite, or
/// `count`. `infinity` is its bit pattern without the sign.
template <class Half>
int64_t narrow(const float* x, int64_t count, Half (*convert)(float), uint16_t infinity,
               std::byte* out) {
  int64_t bad = count;
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t bits = convert(x[i]).bits;
    if ((bits & 0x7fffu) >= infinity && bad == count) bad = i;
    std::memcpy(out + i * 2, &bits, 2);
  }
  return bad;
}

int64_t convert(const float* x, int64_t count, DType dtype, std::byte* out) {
  if (dtype == DType::kF16) return narrow<Float16>(x, count, to_float16, 0x7c00u, out);
  if (dtype == DType::kBF16) return narrow<BFloat16>(x, count, to_bfloat16, 0x7f80u, out);
  TWOFOLD_ASSERT(dtype == DType::kF32);
  std::memcpy(out, x, static_cast<size_t>(count) * sizeof(float));
  return count;
}

[[noreturn]] void refuse_number(const Slot& slot, DType dtype, float value, int64_t row,
                                int64_t col) {
  if (!std::isfinite(value)) refuse_not_finite(slot, value, row, col);
  fail(ErrorCode::kUnsupported, fmt::format("{}: {}", slot.tensor->file, slot.name),
       "{} at row {}, column {} is too large for {}", value, row, col, dtype_info(dtype).name);
}

}  // namespace

AlignedBuffer<float> load_matrix(const Slot& slot, const Context& ctx) {
  const std::unique_ptr<RowSource> source = make_row_source(*slot.tensor, slot.view);
  const int64_t rows = source->rows(), cols = source->cols();
  const int64_t elements = element_count({rows, cols}, slot.name);
  AlignedBuffer<float> weight(static_cast<size_t>(elements));
  prefer_large_pages(std::as_writable_bytes(weight.span()));
  FirstBad bad;
  const int64_t chunk = rows_for(kChunkElements, cols);
  ctx.pool.run(ceil_div(rows, chunk), [&](int64_t item, int) {
    const int64_t begin = item * chunk, count = std::min(chunk, rows - begin);
    float* out = weight.data() + begin * cols;
    source->decode_rows(begin, count, out, cols);
    const int64_t at = find_not_finite(out, count * cols);
    if (at < count * cols) bad.offer(begin * cols + at);
  });
  if (const std::optional<int64_t> at = bad.index()) {
    refuse_not_finite(slot, weight[static_cast<size_t>(*at)], *at / cols, *at % cols);
  }
  return weight;
}

void check_finite(const Slot& slot, const Context& ctx) {
  const auto source = make_row_source(as_matrix(*slot.tensor), slot.view);
  const int64_t cols = source->cols(), panel = rows_for(kPanelElements, cols);
  AlignedBuffer<float> numbers(static_cast<size_t>(std::min(panel, source->rows()) * cols));
  for (int64_t first = 0; first < source->rows(); first += panel) {
    ctx.check_cancelled();
    const int64_t count = std::min(panel, source->rows() - first);
    source->decode_rows(first, count, numbers.data(), cols);
    const int64_t at = find_not_finite(numbers.data(), count * cols);
    if (at == count * cols) continue;
    refuse_not_finite(slot, numbers[static_cast<size_t>(at)], first + at / cols, at % cols);
  }
}

DType written_dtype(const Slot& slot, std::optional<DType> wanted) {
  if (wanted) return *wanted;
  return slot.tensor->type->dtype.value_or(DType::kF16);
}

TensorPlan dense_plan(const Slot& slot, DType dtype) {
  TensorPlan plan{slot.name, dtype, slot.shape};
  if (slot.hf_view.transposed) std::swap(plan.shape[0], plan.shape[1]);
  return plan;
}

namespace {

/// Writes `rows` rows of `cols` numbers that `read` gives, rounded to `dtype`.
void write_rows(const Slot& slot, int64_t rows, int64_t cols, const RowReader& read, DType dtype,
                SafetensorsWriter& out, const Context& ctx) {
  const int64_t element_bytes = static_cast<int64_t>(dtype_info(dtype).bytes);
  const int64_t panel = std::min(rows, rows_for(kPanelElements, cols));
  const int64_t chunk = rows_for(kChunkElements, cols);
  AlignedBuffer<float> numbers(static_cast<size_t>(panel * cols));
  AlignedBuffer<std::byte> bytes(static_cast<size_t>(panel * cols * element_bytes));
  for (int64_t first = 0; first < rows; first += panel) {
    ctx.check_cancelled();
    const int64_t panel_rows = std::min(panel, rows - first);
    FirstBad bad;
    ctx.pool.run(ceil_div(panel_rows, chunk), [&](int64_t item, int) {
      const int64_t begin = item * chunk, count = std::min(chunk, panel_rows - begin);
      float* x = numbers.data() + begin * cols;
      read(first + begin, count, x);
      const int64_t at =
          convert(x, count * cols, dtype, bytes.data() + begin * cols * element_bytes);
      const int64_t limit = std::min(at, find_not_finite(x, count * cols));
      if (limit < count * cols) bad.offer(begin * cols + limit);
    });
    if (const std::optional<int64_t> at = bad.index()) {
      refuse_number(slot, dtype, numbers[static_cast<size_t>(*at)], first + *at / cols, *at % cols);
    }
    out.write({bytes.data(), static_cast<size_t>(panel_rows * cols * element_bytes)});
  }
}

}  // namespace

void write_dense(const Slot& slot, DType dtype, SafetensorsWriter& out, const Context& ctx) {
  const Shape shape = dense_plan(slot, dtype).shape;
  write_rows(slot, shape[0], shape.size() == 2 ? shape[1] : 1, file_rows(slot, ctx), dtype, out,
             ctx);
}

TensorPlan fused_plan(std::span<const Slot* const> parts, DType dtype) {
  const Slot& first = *parts.front();
  TensorPlan plan{first.fused, dtype, first.shape};
  plan.shape[0] = first.fused_rows;
  return plan;
}

void write_fused(std::span<const Slot* const> parts, DType dtype, SafetensorsWriter& out,
                 const Context& ctx) {
  const TensorPlan plan = fused_plan(parts, dtype);
  const int64_t rows = plan.shape[0], cols = plan.shape.size() == 2 ? plan.shape[1] : 1;
  const auto whole = std::make_shared<AlignedBuffer<float>>(
      static_cast<size_t>(element_count({rows, cols}, plan.name)));
  for (const Slot* part : parts) {
    const RowReader read = plain_rows(*part);
    for (int64_t r = 0; r < part->shape[0]; ++r) {
      read(r, 1, whole->data() + stored_row(part->hf_view, part->shape[0], r) * cols);
    }
  }
  const RowReader read = [=](int64_t begin, int64_t count, float* to) {
    std::copy_n(whole->data() + begin * cols, count * cols, to);
  };
  write_rows(*parts.front(), rows, cols, read, dtype, out, ctx);
}

}  // namespace twofold
