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

/// The slots that one tensor of the output holds: one, or the parts of a fused one.
using Parts = std::vector<const Slot*>;

/// Matrices first, then vectors, so that matrices stay aligned.
std::vector<Parts> tensors_to_write(const ModelFiles& source) {
  std::vector<Parts> tensors;
  std::map<std::string_view, size_t> fused;
  for (const Slot& slot : source.slots) {
    const auto found = fused.find(slot.fused);
    if (!slot.fused.empty() && found != fused.end()) {
      tensors[found->second].push_back(&slot);
      continue;
    }
    if (!slot.fused.empty()) fused[slot.fused] = tensors.size();
    tensors.push_back({&slot});
  }
  std::stable_sort(tensors.begin(), tensors.end(), [](const Parts& a, const Parts& b) {
    return a.front()->shape.size() > b.front()->shape.size();
  });
  return tensors;
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
  const std::vector<Parts> tensors = tensors_to_write(source);
  std::vector<TensorPlan> plans;
  for (const Parts& parts : tensors) {
    const Slot& slot = *parts.front();
    const DType dtype = written_dtype(slot, options.dtype);
    plans.push_back(slot.fused.empty() ? dense_plan(slot, dtype) : fused_plan(parts, dtype));
  }

  OutputFolder folder(options.output, options.force);
  write_companions(source, folder, ctx);  // first: it may find the source wanting
  SafetensorsWriter weights(folder.partial(), plans, {{"format", "pt"}});
  const auto total = std::ssize(tensors);
  for (int64_t i = 0; i < total; ++i) {
    ctx.report("import", i, total);
    const Parts& parts = tensors[static_cast<size_t>(i)];
    const DType dtype = plans[static_cast<size_t>(i)].dtype;
    if (parts.front()->fused.empty()) {
      write_dense(*parts.front(), dtype, weights, ctx);
    } else {
      write_fused(parts, dtype, weights, ctx);
    }
  }
  weights.finish();
  write_config(plain_config(source, main_dtype(plans)), folder);
  open_model(folder.partial());  // what was written must read back
  ctx.check_cancelled();
  folder.commit();
  ctx.report("import", total, total);
}

}  // namespace twofold
