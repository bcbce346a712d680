#include <algorithm>
#include <map>

#include "base/json.h"
#include "pipeline/dense_weights.h"
#include "pipeline/output_files.h"
#include "pipeline/quantize_model.h"

namespace twofold {
namespace {

/// PyTorch's name of a type, as configurations have it.
std::string_view torch_name(DType dtype) {
  if (dtype == DType::kF16) return "float16";
  if (dtype == DType::kBF16) return "bfloat16";
  TWOFOLD_ASSERT(dtype == DType::kF32);
  return "float32";
}

/// The type that holds most of the weights.
DType main_dtype(const std::vector<TensorPlan>& plans) {
  std::map<DType, int64_t> elements;
  for (const TensorPlan& plan : plans) elements[plan.dtype] += element_count(plan.shape, plan.name);
  return std::max_element(elements.begin(), elements.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

OrderedJson plain_config(const ModelFiles& source, DType dtype) {
  OrderedJson config(source.config_json);
  config["torch_dtype"] = torch_name(dtype);
  if (config.contains("dtype")) config["dtype"] = torch_name(dtype);  // the field's newer name
  return config;
}

/// Matrices first, then vectors, so that matrices stay aligned.
std::vector<const Slot*> writing_order(const ModelFiles& source) {
  std::vector<const Slot*> slots;
  for (const Slot& slot : source.slots) slots.push_back(&slot);
  std::stable_sort(slots.begin(), slots.end(),
                   [](const Slot* a, const Slot* b) { return a->shape.size() > b->shape.size(); });
  return slots;
}

}  // namespace

void import_model(const ModelFiles& source, const ImportOptions& options, const Context& ctx) {
  if (source.is_quantized()) {
    fail(ErrorCode::kUnsupported, source.path.string(),
         "expected a model with its own weights, found one that twofold quantized");
  }
  if (options.dtype && !dtype_info(*options.dtype).is_float16_or_32) {
    fail(ErrorCode::kInvalidArgument, "dtype", "expected F32, F16 or BF16, found {}",
         dtype_info(*options.dtype).name);
  }
  check_output_place(source, options.output, options.force);
  const std::vector<const Slot*> slots = writing_order(source);
  std::vector<TensorPlan> plans;
  for (const Slot* slot : slots)
    plans.push_back(dense_plan(*slot, written_dtype(*slot, options.dtype)));

  OutputFolder folder(options.output, options.force);
  write_companions(source, folder, ctx);  // first: it may find the source wanting
  SafetensorsWriter weights(folder.partial(), plans, {{"format", "pt"}});
  const auto total = static_cast<int64_t>(slots.size());
  for (int64_t i = 0; i < total; ++i) {
    ctx.report("import", i, total);
    write_dense(*slots[static_cast<size_t>(i)], plans[static_cast<size_t>(i)].dtype, weights, ctx);
  }
  weights.finish();
  write_config(plain_config(source, main_dtype(plans)), folder);
  open_model(folder.partial());  // what was written must read back
  ctx.check_cancelled();
  folder.commit();
  ctx.report("import", total, total);
}

}  // namespace twofold
