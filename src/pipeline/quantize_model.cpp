#include "pipeline/quantize_model.h"

#include <chrono>
#include <map>
#include <span>

#include "base/json.h"
#include "pipeline/dense_weights.h"
#include "pipeline/output_files.h"
#include "pipeline/output_plan.h"
#include "pipeline/report.h"
#include "tensor/ops.h"
#include "transform/transform_json.h"

namespace twofold {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// One run: what is being read, written and reported.
class Quantizer {
 public:
  Quantizer(const ModelFiles& source, const Recipe& recipe, const QuantizeOptions& options,
            const Context& ctx)
      : source_(source),
        recipe_(recipe),
        options_(options),
        ctx_(ctx),
        plan_(plan_output(source, recipe)),
        folder_(options.output, options.force),
        weights_(folder_.partial(), plan_.stored(), {{"format", "pt"}}),
        matrix_count_(plan_.matrices()) {
    report_.parameters = source.parameters();
  }

  QuantizeReport run() {
    for (const size_t rule : plan_.idle_rules) {
      ctx_.note(fmt::format("recipe: rule {} decides about no tensor of this model", rule));
    }
    write_companions(source_, folder_, ctx_);  // first: it may find the source wanting
    for (const PlannedBlock& block : plan_.blocks) {
      for (const PlannedInput& input : block.inputs) {
        for (const PlannedTensor& linear : input.linears) quantize(linear);
      }
    }
    for (const PlannedTensor& tensor : plan_.kept) keep(tensor);
    for (const TensorPlan& scale : plan_.input_scales) write_scale(input_scales_.at(scale.name));
    finish();
    return std::move(report_);
  }

 private:
  void quantize(const PlannedTensor& tensor) {
    ctx_.check_cancelled();
    ctx_.report("quantize", done_, matrix_count_);
    const Clock::time_point start = Clock::now();
    const Slot& slot = tensor.slot;
    const AlignedBuffer<float> weight = load_matrix(slot, ctx_);
    const Solution solution = solve(*tensor.choice,
                                    {.weight = {weight.data(), slot.shape[0], slot.shape[1]},
                                     .seed = options_.seed,
                                     .input_name = slot.input,
                                     .matrix_name = slot.name},
                                    ctx_);
    const PackedMatrix packed = pack(solution.q);
    TWOFOLD_ASSERT(packed.format.name == tensor.format.name);
    weights_.write(packed.bytes.view.bytes);
    const TransformSpec& transform = solution.q.transform;
    const bool first_use = input_scales_.emplace(tensor.input_scale, transform.input_scale).second;
    tensors_[slot.name] = {{"format", packed.format.name},
                           {"shape", slot.shape},
                           {"transform", transform_to_json(transform, tensor.input_scale)}};
    MatrixReport row = row_of(tensor, start);
    row.bytes = static_cast<int64_t>(packed.bytes.view.bytes.size());
    if (first_use) row.bytes += find_transform(transform.name).stored_bytes(transform);
    row.proxy_loss = solution.proxy_loss;
    row.notes = solution.notes;
    add(std::move(row));
  }

  void keep(const PlannedTensor& tensor) {
    ctx_.check_cancelled();
    const Clock::time_point start = Clock::now();
    write_dense(tensor.slot, tensor.stored.dtype, weights_, ctx_);
    if (tensor.slot.shape.size() != 2) return;
    MatrixReport row = row_of(tensor, start);
    row.bytes = row.rows * row.cols * static_cast<int64_t>(dtype_info(tensor.stored.dtype).bytes);
    row.proxy_loss = 0;
    add(std::move(row));
  }

  /// Numbers that binary16 holds exactly.
  void write_scale(const std::vector<float>& scale) {
    std::vector<uint16_t> bits(scale.size());
    ops(ctx_.isa).f32_to_f16(scale.data(), bits.data(), static_cast<int64_t>(bits.size()));
    weights_.write(std::as_bytes(std::span(bits)));
  }

  static MatrixReport row_of(const PlannedTensor& tensor, Clock::time_point start) {
    MatrixReport row;
    row.name = tensor.slot.name;
    row.rows = tensor.slot.shape[0];
    row.cols = tensor.slot.shape[1];
    row.quantized = tensor.choice.has_value();
    row.method = row.quantized ? tensor.choice->method : std::string(kKeepMethod);
    if (row.quantized) row.parameters = to_json(*tensor.choice);
    row.format = tensor.format.name;
    row.seconds = seconds_since(start);
    return row;
  }

  void add(MatrixReport row) {
    report_.matrices.push_back(std::move(row));
    ctx_.report("quantize", ++done_, matrix_count_);
  }

  void finish() {
    weights_.finish();
    report_.bytes = static_cast<int64_t>(weights_.total_bytes());
    complete_figures(report_);
    OrderedJson config(source_.config_json);
    OrderedJson& quantization = config["quantization_config"] = OrderedJson::object();
    quantization["quant_method"] = "twofold";
    quantization["format_version"] = kFolderFormatVersion;
    quantization["untied_head"] = plan_.untied_head;
    quantization["recipe"] = to_json(recipe_);
    quantization["tensors"] = std::move(tensors_);
    write_config(config, folder_);
    open_model(folder_.partial());  // what was written must read back
    report_.seconds = seconds_since(start_);
    write_text_file(folder_.file(kReportFile),
                    dump_json(report_json(report_, source_, options_, ctx_)));
    ctx_.check_cancelled();
    folder_.commit();
  }

  Clock::time_point start_ = Clock::now();
  const ModelFiles& source_;
  const Recipe& recipe_;
  const QuantizeOptions& options_;
  const Context& ctx_;
  OutputPlan plan_;
  OutputFolder folder_;
  SafetensorsWriter weights_;
  int64_t matrix_count_ = 0, done_ = 0;
  std::map<std::string, std::vector<float>> input_scales_;  // by tensor, as planned
  OrderedJson tensors_ = OrderedJson::object();
  QuantizeReport report_;
};

}  // namespace

QuantizeReport quantize_model(const ModelFiles& source, const Recipe& recipe,
                              const QuantizeOptions& options, const Context& ctx) {
  if (source.is_quantized()) {
    fail(ErrorCode::kUnsupported, source.path.string(),
         "expected a model with its own weights, found one that is quantized already");
  }
  check_output_place(source, options.output, options.force);
  return Quantizer(source, recipe, options, ctx).run();
}

}  // namespace twofold
