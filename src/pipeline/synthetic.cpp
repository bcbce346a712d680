#include "pipeline/synthetic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>

#include "base/float16.h"
#include "base/json.h"
#include "base/registry.h"
#include "base/rng.h"
#include "formats/format.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "model/family.h"
#include "model/model_files.h"
#include "pipeline/activation_rounding.h"
#include "pipeline/output_files.h"
#include "pipeline/output_plan.h"
#include "pipeline/report.h"

namespace twofold {
namespace {

/// Rows that are read and written at once; packed formats hold whole blocks of them.
constexpr int64_t kBlock = 16;
/// Blocks that are drawn; a matrix repeats them. Speed does not depend on the codes.
constexpr int64_t kDrawnBlocks = 16;

constexpr std::array kShapes = {
    SyntheticShape{.name = "1.1b",
                   .help = "TinyLlama: hidden 2048, 22 layers, 32 heads, 4 for keys and values",
                   .hidden = 2048,
                   .layers = 22,
                   .heads = 32,
                   .kv_heads = 4,
                   .intermediate = 5632,
                   .vocab_size = 32000,
                   .tied_head = false},
    SyntheticShape{.name = "7b",
                   .help = "Llama 2 7B: hidden 4096, 32 layers, 32 heads",
                   .hidden = 4096,
                   .layers = 32,
                   .heads = 32,
                   .kv_heads = 32,
                   .intermediate = 11008,
                   .vocab_size = 32000,
                   .tied_head = false},
    SyntheticShape{.name = "135m",
                   .help = "SmolLM2 135M: hidden 576, 30 layers, 9 heads, 3 for keys and values, "
                           "head and token table are one",
                   .hidden = 576,
                   .layers = 30,
                   .heads = 9,
                   .kv_heads = 3,
                   .intermediate = 1536,
                   .vocab_size = 49152,
                   .tied_head = true},
};

OrderedJson config_of(const SyntheticShape& shape) {
  return {{"model_type", "llama"},
          {"architectures", {"LlamaForCausalLM"}},
          {"vocab_size", shape.vocab_size},
          {"hidden_size", shape.hidden},
          {"intermediate_size", shape.intermediate},
          {"num_hidden_layers", shape.layers},
          {"num_attention_heads", shape.heads},
          {"num_key_value_heads", shape.kv_heads},
          {"max_position_embeddings", kSyntheticContext},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", shape.tied_head},
          {"torch_dtype", "float16"}};
}

/// A tensor of the folder to come.
struct Planned {
  TensorPlan stored;
  Shape shape;
  const Format* format;  // null: a vector of ones
  Role role;
};

/// The tensors of the family in the order in which they are written: packed, dense, vectors.
std::vector<Planned> plan_tensors(const OrderedJson& json, const Format& block,
                                  const Format& head) {
  const Json config_json(json);
  const Family& family = find_family(config_json, "synthetic");
  const ModelConfig config = family.parse_config(config_json, "synthetic");
  std::vector<Planned> plan;
  for (const TensorRule& rule : family.rules) {
    std::vector<std::string> names;
    for (int64_t layer = -1; layer < config.layers; ++layer) {
      const int64_t count = tensor_count(rule, config, layer);
      for (int64_t i = 0; i < count; ++i) names.push_back(tensor_name(rule, layer, i));
    }
    for (const std::string& name : names) {
      Planned& tensor = plan.emplace_back();
      tensor.shape = {side_length(rule.rows, config)};
      tensor.format = nullptr;
      tensor.role = rule.role;
      tensor.stored = {name, DType::kF16, tensor.shape};
      if (rule.cols == Side::kNone) continue;
      const int64_t cols = side_length(rule.cols, config);
      tensor.shape.push_back(cols);
      tensor.format = is_block_linear(rule.role) ? &block : &head;
      tensor.stored.dtype = tensor.format->is_dense() ? tensor.format->dtype : DType::kU8;
      tensor.stored.shape = tensor.shape;
      if (!tensor.format->is_dense()) {
        tensor.stored.shape = {packed_bytes(*tensor.format, tensor.shape[0], cols)};
      }
    }
  }
  std::ranges::stable_sort(plan, {}, [](const Planned& tensor) {
    return tensor.format == nullptr ? 2 : tensor.format->is_dense() ? 1 : 0;
  });
  return plan;
}

/// Levels from -127 to 127 at equal distances; of planes the nearest sums of signs x integers.
std::vector<float> even_levels(const Scheme& scheme) {
  const int count = 1 << scheme.bits;
  const double step = 254.0 / (count - 1);
  std::vector<float> levels(static_cast<size_t>(count));
  for (int code = 0; code < count; ++code) {
    double level = std::nearbyint(-127 + step * code);
    if (scheme.planes) {
      level = 0;
      for (int p = 0; p < scheme.bits; ++p) {
        const double n = std::floor(std::ldexp(step / 2, p));
        level += (code >> p & 1) != 0 ? n : -n;
      }
    }
    levels[static_cast<size_t>(code)] =
        static_cast<float>(scheme.level_type == LevelType::kInt16 ? level * 256 : level);
  }
  return levels;
}

/// Random codes whose values have a deviation near 1 / sqrt(cols), so that products keep the size
/// of their inputs.
QuantizedMatrix random_codes(Scheme scheme, int64_t rows, int64_t cols, Rng& rng) {
  const bool affine = scheme.kind == ValueKind::kAffine;
  if (!affine && scheme.level_type == LevelType::kInt16) scheme.level_exponent = -8;
  QuantizedMatrix q;
  q.scheme = scheme;
  q.rows = rows;
  q.cols = cols;
  q.codes.resize(static_cast<size_t>(rows * cols));
  const uint32_t mask = (1u << scheme.bits) - 1;
  for (uint16_t& code : q.codes) code = static_cast<uint16_t>(rng.next_u32() & mask);
  const double largest = affine ? std::ldexp(0.5, scheme.bits) : 127;
  const double scale = std::sqrt(3.0 / static_cast<double>(cols)) / largest;
  const auto sets = static_cast<size_t>(q.parameter_sets(scheme.scale_sharing));
  q.scale.resize(sets);
  for (float& value : q.scale) {
    value = round_to_float16(static_cast<float>(scale * (0.75 + 0.5 * rng.uniform())));
  }
  if (affine && zero_is_stored(scheme.zero)) {
    q.zero.assign(sets, static_cast<float>(std::ldexp(0.5, scheme.bits)));
  }
  if (affine) return q;
  if (scheme.kind == ValueKind::kTrellis) {
    const TrellisCode& code = trained_trellis_code(scheme.bits, scheme.window);
    q.mixing = code.mixing;
    q.levels.assign(code.levels.begin(), code.levels.end());
    link_symbols(q);
    return q;
  }
  if (scheme.has_offset) q.offset.assign(sets, round_to_float16(static_cast<float>(scale)));
  const std::vector<float> levels = even_levels(scheme);
  for (int64_t set = 0; set < q.parameter_sets(scheme.table_sharing); ++set) {
    q.levels.insert(q.levels.end(), levels.begin(), levels.end());
  }
  return q;
}

/// Bytes of a few blocks of rows, and what follows the last block of any number of them.
struct Drawn {
  Tensor bytes;
  std::span<const std::byte> blocks, tail;
};

Drawn draw(const Format& format, int64_t rows, int64_t cols, Rng& rng) {
  PackedMatrix packed;
  if (format.is_dense()) {
    std::vector<float> values(static_cast<size_t>(rows * cols));
    const double spread = 2 * std::sqrt(3.0 / static_cast<double>(cols));
    for (float& value : values) value = static_cast<float>(spread * (rng.uniform() - 0.5));
    packed = pack_dense(format, {values.data(), rows, cols});
  } else {
    packed = pack(random_codes(format.scheme, rows, cols, rng));
    TWOFOLD_ASSERT(packed.format.name == format.name);
  }
  const std::span<const std::byte> bytes = packed.bytes.view.bytes;
  const int64_t block = packed_bytes(format, 2 * kBlock, cols) - packed_bytes(format, kBlock, cols);
  const auto blocks = static_cast<size_t>(rows / kBlock * block);
  return {packed.bytes, bytes.first(blocks), bytes.subspan(blocks)};
}

/// Writes the tensors of a plan.
class Painter {
 public:
  Painter(SafetensorsWriter& out, uint64_t seed) : out_(out), rng_(seed, "synthetic") {}

  void write(const Planned& tensor) {
    if (tensor.format == nullptr) return write_ones(tensor.shape[0]);
    const int64_t rows = tensor.shape[0], cols = tensor.shape[1];
    TWOFOLD_ASSERT(rows % kBlock == 0);
    auto drawn = drawn_.find({tensor.format->name, cols});
    if (drawn == drawn_.end()) {
      drawn = drawn_
                  .emplace(std::pair(tensor.format->name, cols),
                           draw(*tensor.format, kDrawnBlocks * kBlock, cols, rng_))
                  .first;
    }
    const Drawn& d = drawn->second;
    const size_t block = d.blocks.size() / kDrawnBlocks;
    for (size_t left = static_cast<size_t>(rows / kBlock) * block; left > 0;) {
      const size_t bytes = std::min(left, d.blocks.size());
      out_.write(d.blocks.first(bytes));
      left -= bytes;
    }
    out_.write(d.tail);
  }

 private:
  void write_ones(int64_t count) {
    const std::vector<uint16_t> ones(static_cast<size_t>(count), to_float16(1.0f).bits);
    out_.write(std::as_bytes(std::span(ones)));
  }

  SafetensorsWriter& out_;
  Rng rng_;
  std::map<std::pair<std::string, int64_t>, Drawn> drawn_;
};

/// The report that `inspect` reads beside a quantized model.
QuantizeReport report_of(const ModelFiles& files, int64_t bytes) {
  QuantizeReport report;
  for (const Slot& slot : files.slots) {
    if (slot.shape.size() != 2) continue;
    MatrixReport& row = report.matrices.emplace_back();
    row.name = slot.name;
    row.rows = slot.shape[0];
    row.cols = slot.shape[1];
    row.quantized = !slot.format.empty();
    row.method = row.quantized ? "synthetic" : std::string(kKeepMethod);
    row.format = slot.format;
    row.bytes = static_cast<int64_t>(slot.tensor->bytes.size());
  }
  report.bytes = bytes;
  report.parameters = files.parameters();
  report.notes = {"random codes: for measuring speed"};
  complete_figures(report);
  return report;
}

}  // namespace

std::span<const SyntheticShape> all_synthetic_shapes() { return kShapes; }

const SyntheticShape& find_synthetic_shape(std::string_view name) {
  return find_entry(all_synthetic_shapes(), "synthetic shape", name);
}

void write_synthetic_model(const SyntheticShape& shape, const SyntheticOptions& options,
                           const Context& ctx) {
  const Format block = parse_format(options.format), head = parse_format(options.head_format);
  OrderedJson config = config_of(shape);
  const std::vector<Planned> plan = plan_tensors(config, block, head);
  std::vector<TensorPlan> stored;
  OrderedJson packed = OrderedJson::object();
  for (const Planned& tensor : plan) {
    stored.push_back(tensor.stored);
    if (tensor.format == nullptr || tensor.format->is_dense()) continue;
    packed[tensor.stored.name] = {
        {"format", tensor.format->name}, {"shape", tensor.shape}, {"transform", nullptr}};
    // As a quantization would: uniform codes of b bits lose about 4^-b.
    store_rounding(choose_activation_rounding(*tensor.format, tensor.role,
                                              std::ldexp(1.0, -2 * tensor.format->scheme.bits)),
                   packed[tensor.stored.name]);
  }
  OutputFolder folder(options.output, options.force);
  SafetensorsWriter weights(folder.partial(), std::move(stored), weight_metadata());
  Painter painter(weights, options.seed);
  for (size_t i = 0; i < plan.size(); ++i) {
    ctx.check_cancelled();
    ctx.report("make a model", static_cast<int64_t>(i), static_cast<int64_t>(plan.size()));
    painter.write(plan[i]);
  }
  weights.finish();
  config["quantization_config"] = {{"quant_method", "twofold"},
                                   {"format_version", kFolderFormatVersion},
                                   {"untied_head", false},
                                   {"recipe", {{"rules", OrderedJson::array()}}},
                                   {"tensors", std::move(packed)}};
  write_config(config, folder);
  const ModelFiles files = open_model(folder.partial());  // what was written must read back
  const QuantizeReport report = report_of(files, static_cast<int64_t>(weights.total_bytes()));
  const QuantizeOptions run{.output = options.output, .seed = options.seed};
  write_text_file(folder.file(kReportFile), dump_json(report_json(report, files, run, ctx)));
  folder.commit();
}

}  // namespace twofold
