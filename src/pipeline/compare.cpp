#include "pipeline/compare.h"

#include <algorithm>
#include <set>

#include "base/json.h"
#include "base/peak_memory.h"
#include "base/sha256.h"
#include "base/version.h"
#include "calib/builtin_texts.h"
#include "engine/load_tokenizer.h"
#include "engine/model.h"
#include "io/file.h"
#include "pipeline/build_id.h"
#include "pipeline/rate_plan.h"
#include "pipeline/reference_file.h"
#include "pipeline/report.h"
#include "pipeline/work_plan.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kRows = "rows", kModels = "models", kReference = "source.states",
                           kSourceRow = "source";

/// What a file beside a converted peer says of the file it was made from (bench/peers/to_f16.py).
struct PeerNote {
  std::string name;
  std::optional<int64_t> bytes, block_bytes;
};

PeerNote read_peer_note(const fs::path& peer) {
  const fs::path path = peer.string() + ".peer.json";
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return {};
  const Json json = parse_json(read_text_file(path), path.string());
  try {
    return {.name = json.at("name").get<std::string>(),
            .bytes = json.at("bytes").get<int64_t>(),
            .block_bytes = json.at("block_bytes").get<int64_t>()};
  } catch (const Json::exception& error) {
    fail(ErrorCode::kCorruptFile, path.string(), std::string_view(error.what()));
  }
}

/// Name, size and time of a file: changes when it does.
std::string stamp_of(const fs::path& file) {
  std::error_code ignored;
  return fmt::format("{} {} {}", file.filename().string(), fs::file_size(file, ignored),
                     fs::last_write_time(file, ignored).time_since_epoch().count());
}

/// Stamps of the weight files, and the shapes in them.
std::string stamp_of(const ModelFiles& files) {
  std::set<std::string> names;
  for (const StoredTensor& tensor : files.checkpoint->tensors()) names.insert(tensor.file);
  std::string text = source_fingerprint(files);
  for (const std::string& name : names) text += fmt::format(" {}", stamp_of(fs::path(name)));
  return sha256_hex(text);
}

std::string hash_of(const fs::path& file) {
  const MappedFile mapped = MappedFile::open(file);
  std::string hash = sha256_hex(mapped.bytes());
  release_pages(mapped.bytes());
  return hash;
}

std::string hash_of_builtin_texts() {
  std::string hashes;
  for (const BuiltinText& text : builtin_texts()) hashes += sha256_hex(text.text);
  return sha256_hex(hashes);
}

/// Of every file that may say how text becomes tokens: calibration depends on it.
std::string hash_of_tokenizer(const ModelFiles& files) {
  std::string text;
  for (const fs::path& file : tokenizer_files(files)) {
    text += fmt::format("{} {}\n", file.filename().string(), hash_of(file));
  }
  return sha256_hex(text);
}

/// A row's name as that of a file.
std::string file_name(std::string_view row) {
  constexpr size_t kLongest = 100;
  std::string name;
  for (const char c : row) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '=' || c == '_';
    name += plain ? c : '-';
  }
  if (name.size() > kLongest || name.starts_with('.')) {
    name = fmt::format("{}-{}", name.substr(0, kLongest), sha256_hex(row).substr(0, 8));
  }
  return name;
}

/// Bytes and bits of a model; bits per weight over the linear layers of the blocks.
void fill_sizes(const ModelFiles& files, ComparedRow& row) {
  const QuantizeReport report = inspect_model(files);
  int64_t bytes = 0, weights = 0;
  for (const Slot& slot : files.slots) {
    if (slot.layer < 0 || slot.shape.size() != 2) continue;
    const auto matrix = std::ranges::find(report.matrices, slot.name, &MatrixReport::name);
    TWOFOLD_ASSERT(matrix != report.matrices.end());
    bytes += matrix->bytes;
    weights += matrix->rows * matrix->cols;
  }
  row.bytes = report.bytes;
  if (weights > 0) row.bits_per_weight = bits_over(bytes, weights);
  row.bits_per_weight_total = report.bits_per_weight_total;
}

/// Sizes of the file that a converted peer was made from.
void apply_note(const PeerNote& note, const ModelFiles& files, ComparedRow& row) {
  if (!note.bytes) return;
  int64_t weights = 0;
  for (const Slot& slot : files.slots) {
    if (slot.layer >= 0 && slot.shape.size() == 2) weights += slot.shape[0] * slot.shape[1];
  }
  row.bytes = *note.bytes;
  row.bits_per_weight = bits_over(*note.block_bytes, weights);
  row.bits_per_weight_total = bits_over(row.bytes, files.parameters());
}

/// One call of compare_models.
class Comparer {
 public:
  Comparer(const ModelFiles& source, const CompareRequest& request, const Context& ctx)
      : source_(source), request_(request), ctx_(ctx), folder_(request.quantize.output) {
    bool sequential = false;
    for (const CompareRow& row : request.rows) {
      sequential = options_of(row).true_sequential || sequential;
      claim(row.name);
    }
    if (request.quantize.true_sequential && !sequential) {
      fail(ErrorCode::kInvalidArgument, "--true-sequential",
           "has no effect: no row needs second moments, and without --calibration none are "
           "collected");
    }
    for (const fs::path& peer : request.peers) {
      const ModelFiles files = open_model(peer);
      if (files.config.vocab_size != source.config.vocab_size) {
        fail(ErrorCode::kInvalidArgument, peer.string(),
             "expected a vocabulary of {} tokens as in {}, found {}", source.config.vocab_size,
             source.path.string(), files.config.vocab_size);
      }
      claim(peer_name(peer));
    }
    open_folder();
    common_["twofold_version"] = kVersion;
    common_["build"] = build_id();
    common_["instruction_set"] = isa_name(ctx.isa);
    common_["source"] = stamp_of(source);
    common_["tokenizer"] = hash_of_tokenizer(source);
    common_["tokens"] = sha256_hex(std::as_bytes(std::span(request.ids)));
    common_["protocol"] = request.score.protocol;
    common_["window"] = request.score.window;
    common_["windows"] = request.score.max_windows;
    common_["activations"] = activations_name(request.activations);
  }

  Comparer(const Comparer&) = delete;
  Comparer& operator=(const Comparer&) = delete;

  /// Removes the folders that nothing was put into.
  ~Comparer() {
    std::error_code not_empty;
    fs::remove(folder_ / kModels, not_empty);
    fs::remove(folder_ / kRows, not_empty);
    if (made_folder_) fs::remove(folder_, not_empty);
  }

  Comparison run() {
    Comparison result{.model = source_.path.string(),
                      .text_name = request_.text_name,
                      .activations = activations_name(request_.activations),
                      .parameters = source_.parameters(),
                      .source = {},
                      .rows = {}};
    const int64_t total = 1 + std::ssize(request_.rows) + std::ssize(request_.peers);
    const auto begin = [&](std::string_view name) {
      step_ = fmt::format("{}/{} {}", ++steps_, total, name);
    };
    begin(kSourceRow);
    result.source = source_row();
    for (const fs::path& peer : request_.peers) {
      begin(peer_name(peer));
      result.rows.push_back(peer_row(peer));
    }
    for (const CompareRow& row : request_.rows) {
      begin(row.name);
      result.rows.push_back(quantized_row(row));
    }
    mark_beaten(result.rows);
    return result;
  }

 private:
  static std::string peer_name(const fs::path& peer) {
    const PeerNote note = read_peer_note(peer);
    if (!note.name.empty()) return note.name;
    const fs::path name = peer.has_filename() ? peer.filename() : peer.parent_path().filename();
    return name.extension() == ".gguf" || name.extension() == ".bin" ? name.stem().string()
                                                                     : name.string();
  }

  /// What a row is quantized with: without moments there is no order to collect them in.
  QuantizeOptions options_of(const CompareRow& row) const {
    QuantizeOptions options = request_.quantize;
    options.true_sequential = false;
    const WorkPlan work = plan_work(source_, with_lower_bits(row.recipe), options);
    options.true_sequential = request_.quantize.true_sequential && work.is_calibrated();
    return options;
  }

  /// Two rows must not share a file.
  void claim(const std::string& name) {
    if (!taken_.insert(file_name(name)).second || name == kSourceRow) {
      fail(ErrorCode::kInvalidArgument, "compare", "two rows are called {}", name);
    }
  }

  void open_folder() {
    std::error_code error;
    const bool ours = fs::is_directory(folder_ / kRows, error);
    if (!ours && fs::exists(folder_, error) &&
        !(fs::is_directory(folder_, error) && fs::is_empty(folder_, error))) {
      fail(ErrorCode::kInvalidArgument, folder_.string(),
           "expected a new folder or one of a comparison, found something else");
    }
    made_folder_ = fs::create_directories(folder_, error);
    if (!error) fs::create_directories(folder_ / kRows, error);
    if (!error) fs::create_directories(folder_ / kModels, error);
    if (error) fail(ErrorCode::kIo, folder_.string(), "cannot make it: {}", error.message());
  }

  fs::path row_path(std::string_view name) const {
    return folder_ / kRows / (file_name(name) + ".json");
  }

  /// The finished row, if its file is there and fits.
  std::optional<ComparedRow> stored(std::string_view name, const std::string& fingerprint) const {
    const fs::path path = row_path(name);
    std::error_code ignored;
    if (!fs::exists(path, ignored)) return std::nullopt;
    const Json json = parse_json(read_text_file(path), path.string());
    if (!json.is_object() || json.value("fingerprint", "") != fingerprint) return std::nullopt;
    return compared_row_from_json(json, path.string());
  }

  void store(const ComparedRow& row, const std::string& fingerprint) const {
    OrderedJson json = to_json(row);
    json["fingerprint"] = fingerprint;
    write_text_file(row_path(row.name), dump_json(json));
  }

  std::string fingerprint_of(const OrderedJson& own) const {
    return sha256_hex(OrderedJson{{"common", common_}, {"own", own}}.dump());
  }

  /// A context whose bar says which row it is about.
  Context named_context() const {
    Context named = ctx_;
    named.progress = [this](std::string_view what, int64_t done, int64_t total) {
      ctx_.report(fmt::format("{} {}", step_, what), done, total);
    };
    named.log = [this](std::string_view line) { ctx_.note(fmt::format("{}: {}", step_, line)); };
    return named;
  }

  /// Figures of a model with its divergence from the source, which runs in the first call only.
  EvalResult score(const Model& model) const {
    const auto reference = Model::load(source_.path);
    const std::vector<int32_t> texts[] = {request_.ids};
    ReferenceFile kept(folder_ / kReference, fingerprint_of({{"states", kSourceRow}}));
    Context scoring = named_context();
    scoring.activations = request_.activations;
    EvalResult result =
        evaluate(model, reference.get(), texts, request_.text_bytes, request_.score,
                 {.config = source_.config, .bos_id = request_.added_bos}, scoring, &kept);
    kept.complete();
    return result;
  }

  ComparedRow source_row() const {
    const std::string fingerprint = fingerprint_of({{"row", kSourceRow}});
    if (request_.resume) {
      if (auto row = stored(kSourceRow, fingerprint)) return *row;
    }
    ComparedRow row{.name = std::string(kSourceRow), .series = std::string(kSourceRow)};
    fill_sizes(source_, row);
    row.score = score(*Model::load(source_.path));
    row.score->divergence.reset();  // from itself
    store(row, fingerprint);
    return row;
  }

  ComparedRow peer_row(const fs::path& peer) const {
    const PeerNote note = read_peer_note(peer);
    ModelFiles files = open_model(peer);
    const std::string fingerprint =
        fingerprint_of({{"peer", stamp_of(files)}, {"bytes", note.bytes.value_or(0)}});
    ComparedRow row{.name = peer_name(peer), .series = "peers", .peer = true};
    if (request_.resume) {
      if (auto found = stored(row.name, fingerprint); found && found->score) return *found;
    }
    finish(row, fingerprint, [&] {
      fill_sizes(files, row);
      apply_note(note, files, row);
      row.score = score(*Model::load(std::move(files)));
    });
    return row;
  }

  ComparedRow quantized_row(const CompareRow& wanted) const {
    const std::string fingerprint =
        fingerprint_of({{"recipe", to_json(wanted.recipe)}, {"options", options_json()}});
    ComparedRow row{.name = wanted.name, .series = wanted.series};
    const fs::path model = folder_ / kModels / file_name(wanted.name);
    std::error_code ignored;
    if (request_.resume) {
      if (auto found = stored(wanted.name, fingerprint)) {
        const bool there = fs::exists(model, ignored);
        if (found->score && (there || !request_.keep_models)) return *found;
        if (!found->score && found->error.empty() && there) row = *found;  // not scored yet
      }
    }
    finish(row, fingerprint, [&] {
      if (!row.quantize_seconds) {
        quantize(wanted, model, row);
        store(row, fingerprint);
      }
      row.score = score(*Model::load(model));
    });
    if (!request_.keep_models) fs::remove_all(model, ignored);
    return row;
  }

  /// Nothing of an earlier row is mapped or held while this one is measured.
  void quantize(const CompareRow& wanted, const fs::path& model, ComparedRow& row) const {
    QuantizeOptions options = options_of(wanted);
    options.output = model;
    options.force = true;
    options.resume = request_.resume;
    std::error_code ignored;
    fs::remove(row_path(wanted.name), ignored);  // it is about a folder that is replaced
    const ModelFiles source = open_model(source_.path);
    const bool measured = reset_peak_memory();
    row.quantize_seconds = quantize_model(source, wanted.recipe, options, named_context()).seconds;
    if (measured) row.peak_memory_bytes = peak_memory_bytes();
    fill_sizes(open_model(model), row);
  }

  /// Runs `work` and stores the row; what cannot be carried out becomes the row's error, and is
  /// tried again by the next call. A disk that refuses would refuse the other rows too.
  template <class Work>
  void finish(ComparedRow& row, const std::string& fingerprint, const Work& work) const {
    ctx_.check_cancelled();
    try {
      work();
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kCancelled) throw;
      if (error.code() == ErrorCode::kIo) fail(error.code(), row.name, error.what());
      row.error = error.what();
      ctx_.note(fmt::format("{}: {}", step_, row.error));
    }
    store(row, fingerprint);
  }

  /// Everything of the options that changes a row.
  OrderedJson options_json() const {
    const QuantizeOptions& options = request_.quantize;
    OrderedJson json;
    json["seed"] = options.seed;
    json["true_sequential"] = options.true_sequential;
    json["calibration"] = nullptr;
    json["text"] = hash_of_builtin_texts();
    if (!options.calibration) return json;
    OrderedJson& calibration = json["calibration"] = OrderedJson::object();
    calibration["files"] = OrderedJson::array();
    for (const fs::path& file : options.calibration->files) {
      calibration["files"].push_back(hash_of(file));
    }
    calibration["samples"] = options.calibration->samples;
    calibration["context"] = options.calibration->context;
    calibration["sampling"] = static_cast<int>(options.calibration->sampling);
    return json;
  }

  const ModelFiles& source_;
  const CompareRequest& request_;
  const Context& ctx_;
  fs::path folder_;
  bool made_folder_ = false;
  OrderedJson common_;
  std::set<std::string> taken_;
  std::string step_;
  int64_t steps_ = 0;
};

}  // namespace

void mark_beaten(std::vector<ComparedRow>& rows) {
  for (ComparedRow& row : rows) {
    row.beaten_by.clear();
    if (!row.score) continue;
    const double kl = row.score->divergence->kl_mean;
    double least = 0;
    for (const ComparedRow& other : rows) {
      if (!other.score || &other == &row) continue;
      const double other_kl = other.score->divergence->kl_mean;
      const bool beats =
          other.bytes <= row.bytes && other_kl <= kl && (other.bytes < row.bytes || other_kl < kl);
      if (!beats || (!row.beaten_by.empty() && other_kl >= least)) continue;
      row.beaten_by = other.name;
      least = other_kl;
    }
  }
}

Comparison compare_models(const ModelFiles& source, const CompareRequest& request,
                          const Context& ctx) {
  if (request.rows.empty() && request.peers.empty()) {
    fail(ErrorCode::kInvalidArgument, "compare", "expected at least one method or peer");
  }
  const Comparison comparison = Comparer(source, request, ctx).run();
  const fs::path folder = request.quantize.output;
  write_text_file(folder / "compare.md",
                  comparison_markdown(comparison, request.quantize.command_line));
  write_text_file(folder / "compare.csv", comparison_csv(comparison));
  write_text_file(folder / "compare.json", dump_json(to_json(comparison)));
  const std::string chart = comparison_svg(comparison);
  if (!chart.empty()) write_text_file(folder / "compare.svg", chart);
  std::error_code ignored;
  fs::remove(folder / kReference, ignored);
  return comparison;
}

}  // namespace twofold
