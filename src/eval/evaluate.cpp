#include "eval/evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "base/aligned_buffer.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/sha256.h"
#include "tensor/ops.h"

namespace twofold {

namespace {

/// Bounds of one chunk of logits.
constexpr int64_t kChunkRows = 256;
constexpr int64_t kChunkFloats = int64_t{16} << 20;  // 64 MiB

/// Mean and variance of numbers that come one by one (Welford).
struct RunningMoments {
  int64_t count = 0;
  double mean = 0, sum_squares = 0;

  void add(double x) {
    ++count;
    const double delta = x - mean;
    mean += delta / static_cast<double>(count);
    sum_squares += delta * (x - mean);
  }
  double standard_error() const {
    if (count < 2) return 0;
    const double n = static_cast<double>(count);
    return std::sqrt(sum_squares / (n - 1) / n);
  }
};

/// What is known of one model while windows pass.
struct Tally {
  RunningMoments tokens, windows, last_positions;
  double window_sum = 0;
  int64_t window_count = 0;
  double kl_sum = 0;
  std::vector<float> kl;  // one per target
  int64_t agreements = 0;
};

/// Losses and divergences of a chunk of positions, one element per row.
struct ChunkScores {
  std::vector<double> nll, kl;
  std::vector<int64_t> best, reference_best;

  explicit ChunkScores(int64_t rows) : nll(rows), kl(rows), best(rows), reference_best(rows) {}
};

int64_t lowest_index_of_max(const Ops& op, std::span<const float> x) {
  const float top = op.max(x.data(), std::ssize(x));
  return std::find(x.begin(), x.end(), top) - x.begin();
}

/// Moves the rows of scored positions to the front of `hidden`, [tokens, width] -> [scored, width].
void keep_scored_rows(std::span<const ScoreWindow> windows, int64_t width, float* hidden) {
  int64_t from = 0, to = 0;
  for (const ScoreWindow& window : windows) {
    const int64_t count = std::ssize(window.targets);
    std::memmove(hidden + to * width, hidden + (from + window.first) * width,
                 static_cast<size_t>(count * width) * sizeof(float));
    from += std::ssize(window.ids);
    to += count;
  }
}

/// Runs batches of windows through all models and adds up their tallies.
class Scorer {
 public:
  Scorer(std::span<const Model* const> models, const Model* reference, ReferenceStates* kept,
         const Context& ctx)
      : models_(models.begin(), models.end()),
        tallies_(models.size()),
        has_reference_(reference != nullptr),
        vocab_(models.front()->config().vocab_size),
        chunk_rows_(std::clamp<int64_t>(kChunkFloats / vocab_, 1, kChunkRows)),
        scores_(chunk_rows_),
        kept_(kept),
        ctx_(ctx),
        float_ctx_(ctx) {
    float_ctx_.activations = Activations::kFloat;
    if (!has_reference_) return;
    reference_ = std::ranges::find(models_, reference) - models_.begin();
    if (reference_ == std::ssize(models_)) models_.push_back(reference);
    reference_logits_ = AlignedBuffer<float>(static_cast<size_t>(chunk_rows_ * vocab_));
  }

  void score(std::span<const ScoreWindow> windows) {
    std::vector<SequenceInput> inputs;
    std::vector<int32_t> targets;
    for (const ScoreWindow& window : windows) {
      inputs.push_back({window.ids, nullptr});
      targets.insert(targets.end(), window.targets.begin(), window.targets.end());
    }
    std::vector<AlignedBuffer<float>> hidden;  // per model [scored, width]
    for (int64_t m = 0; m < std::ssize(models_); ++m) {
      ctx_.check_cancelled();
      const bool keeps = has_reference_ && m == reference_ && kept_ != nullptr;
      hidden.push_back(run(m, windows, inputs, keeps ? kept_ : nullptr));
    }
    ++batch_;
    window_ends_.clear();
    int64_t end = 0;
    for (const ScoreWindow& window : windows)
      window_ends_.push_back(end += std::ssize(window.targets));
    for (int64_t begin = 0; begin < std::ssize(targets); begin += chunk_rows_) {
      ctx_.check_cancelled();
      const int64_t rows = std::min(chunk_rows_, std::ssize(targets) - begin);
      score_chunk(hidden, begin, std::span(targets).subspan(begin, rows));
    }
  }

  const std::vector<Tally>& tallies() const { return tallies_; }

 private:
  /// Final hidden states of the scored positions, [targets, hidden] at the front of the buffer.
  AlignedBuffer<float> run(int64_t m, std::span<const ScoreWindow> windows,
                           std::span<const SequenceInput> inputs, ReferenceStates* kept) {
    const int64_t width = models_[m]->config().hidden;
    int64_t targets = 0;
    for (const ScoreWindow& window : windows) targets += std::ssize(window.targets);
    const auto floats = static_cast<size_t>(targets * width);
    if (kept != nullptr) {
      AlignedBuffer<float> loaded(floats);
      if (kept->load(batch_, {loaded.data(), floats})) return loaded;
    }
    AlignedBuffer<float> hidden = models_[m]->forward(inputs, context_of(m));
    keep_scored_rows(windows, width, hidden.data());
    if (kept != nullptr) kept->save(batch_, {hidden.data(), floats});
    return hidden;
  }

  /// The reference is always run with float activations.
  const Context& context_of(int64_t model) const {
    return has_reference_ && model == reference_ ? float_ctx_ : ctx_;
  }

  /// Log-probabilities of rows [begin, begin + targets.size()) of a model to `out`, their losses
  /// and largest entries to `best`.
  void log_probabilities(int64_t model, AlignedBuffer<float>& hidden, int64_t begin,
                         std::span<const int32_t> targets, AlignedBuffer<float>& out,
                         std::vector<int64_t>& best) {
    const Ops& op = ops(ctx_.isa);
    const int64_t rows = std::ssize(targets);
    const int64_t width = models_[model]->config().hidden;
    models_[model]->logits({hidden.data() + begin * width, rows, width}, {out.data(), rows, vocab_},
                           context_of(model));
    ctx_.pool.run_static(rows, [&](int64_t from, int64_t to, int) {
      for (int64_t r = from; r < to; ++r) {
        float* x = out.data() + r * vocab_;
        const float log_sum = op.log_sum_exp(x, vocab_);
        scores_.nll[r] = static_cast<double>(log_sum) - static_cast<double>(x[targets[r]]);
        if (!has_reference_) continue;
        best[r] = lowest_index_of_max(op, {x, static_cast<size_t>(vocab_)});
        for (int64_t i = 0; i < vocab_; ++i) x[i] -= log_sum;
      }
    });
  }

  void score_chunk(std::vector<AlignedBuffer<float>>& hidden, int64_t begin,
                   std::span<const int32_t> targets) {
    if (has_reference_) {
      log_probabilities(reference_, hidden[reference_], begin, targets, reference_logits_,
                        scores_.reference_best);
      if (reference_ < std::ssize(tallies_)) {
        std::ranges::fill(scores_.kl, 0.0);
        scores_.best = scores_.reference_best;
        add(tallies_[reference_], begin, std::ssize(targets));
      }
    }
    for (int64_t m = 0; m < std::ssize(tallies_); ++m) {
      if (has_reference_ && m == reference_) continue;
      logits_.ensure(static_cast<size_t>(chunk_rows_ * vocab_));
      log_probabilities(m, hidden[m], begin, targets, logits_, scores_.best);
      if (has_reference_) diverge(std::ssize(targets));
      add(tallies_[m], begin, std::ssize(targets));
    }
  }

  /// KL(reference || model) of each row, in nats; rounding may make it barely negative: then 0.
  void diverge(int64_t rows) {
    const Ops& op = ops(ctx_.isa);
    ctx_.pool.run_static(rows, [&](int64_t from, int64_t to, int) {
      for (int64_t r = from; r < to; ++r) {
        const int64_t at = r * vocab_;
        const double kl =
            op.kl_divergence(reference_logits_.data() + at, logits_.data() + at, vocab_);
        scores_.kl[r] = std::max(kl, 0.0);
      }
    });
  }

  /// Adds the chunk's rows in order, so that sums do not depend on threads. `begin` is the first
  /// row's place in the batch.
  void add(Tally& tally, int64_t begin, int64_t rows) {
    int64_t window = std::ranges::upper_bound(window_ends_, begin) - window_ends_.begin();
    for (int64_t r = 0; r < rows; ++r) {
      const double nll = scores_.nll[r];
      if (!std::isfinite(nll)) {
        fail(ErrorCode::kUnsupported, "evaluation", "expected finite losses, found {} at target {}",
             nll, tally.tokens.count);
      }
      tally.tokens.add(nll);
      tally.window_sum += nll;
      ++tally.window_count;
      if (begin + r + 1 == window_ends_[window]) {
        tally.windows.add(tally.window_sum / static_cast<double>(tally.window_count));
        tally.last_positions.add(nll);
        tally.window_sum = 0;
        tally.window_count = 0;
        ++window;
      }
      if (!has_reference_) continue;
      tally.kl.push_back(static_cast<float>(scores_.kl[r]));
      tally.kl_sum += scores_.kl[r];
      tally.agreements += scores_.best[r] == scores_.reference_best[r] ? 1 : 0;
    }
  }

  std::vector<const Model*> models_;  // those with tallies, then perhaps the reference
  std::vector<Tally> tallies_;
  bool has_reference_;
  int64_t reference_ = -1;  // index in models_
  int64_t vocab_, chunk_rows_;
  AlignedBuffer<float> logits_, reference_logits_;  // [chunk_rows, vocab]
  ChunkScores scores_;
  ReferenceStates* kept_;
  int64_t batch_ = 0;
  std::vector<int64_t> window_ends_;  // scored rows of the batch up to and with each window
  const Context& ctx_;
  Context float_ctx_;
};

/// Value at rank ceil(q n) of the sorted numbers (1-based); sorts part of `x`.
double quantile(std::vector<float>& x, double q) {
  const auto rank = static_cast<int64_t>(std::ceil(q * static_cast<double>(x.size())));
  const auto at = x.begin() + std::max<int64_t>(rank - 1, 0);
  std::nth_element(x.begin(), at, x.end());
  return static_cast<double>(*at);
}

Divergence summarize(const Tally& tally) {
  std::vector<float> kl = tally.kl;
  const double n = static_cast<double>(kl.size());
  return {.kl_mean = tally.kl_sum / n,
          .kl_median = quantile(kl, 0.5),
          .kl_p99 = quantile(kl, 0.99),
          .top1_agreement = static_cast<double>(tally.agreements) / n};
}

void check_models(std::span<const Model* const> models, const Protocol& protocol, int64_t window) {
  for (const Model* model : models) {
    const ModelConfig& config = model->config();
    if (window > config.context) {
      fail(ErrorCode::kInvalidArgument, model->files().path.string(),
           "its context has {} tokens, the windows of {} have {} (--window)", config.context,
           protocol.name, window);
    }
    if (config.vocab_size != models.front()->config().vocab_size) {
      fail(ErrorCode::kInvalidArgument, model->files().path.string(),
           "expected a vocabulary of {} tokens as in {}, found {}",
           models.front()->config().vocab_size, models.front()->files().path.string(),
           config.vocab_size);
    }
  }
}

void check_ids(std::span<const std::vector<int32_t>> texts, const Model& model,
               std::string_view source) {
  const int64_t vocab = model.config().vocab_size;
  for (size_t t = 0; t < texts.size(); ++t) {
    for (size_t i = 0; i < texts[t].size(); ++i) {
      const int32_t id = texts[t][i];
      if (id >= 0 && id < vocab) continue;
      fail(
          ErrorCode::kInvalidArgument, source,
          "expected ids from 0 to {}, the vocabulary of {}, found {} at position {} of sequence {}",
          vocab - 1, model.files().path.string(), id, i, t + 1);
    }
  }
}

std::string token_hash(std::span<const std::vector<int32_t>> texts) {
  Sha256 hash;
  std::vector<std::byte> bytes;
  for (const std::vector<int32_t>& ids : texts) {
    bytes.clear();
    for (const int32_t id : ids) {
      for (int shift = 0; shift < 32; shift += 8) {
        bytes.push_back(static_cast<std::byte>((static_cast<uint32_t>(id) >> shift) & 0xFF));
      }
    }
    hash.update(std::span<const std::byte>(bytes));
  }
  return hash.hex();
}

std::vector<ScoreWindow> cut_texts(const Protocol& protocol,
                                   std::span<const std::vector<int32_t>> texts, int64_t window,
                                   int64_t max_windows, const ProtocolContext& context) {
  std::vector<ScoreWindow> windows;
  for (const std::vector<int32_t>& ids : texts) {
    for (ScoreWindow& cut : protocol.cut(ids, window, context)) {
      if (max_windows > 0 && std::ssize(windows) == max_windows) return windows;
      windows.push_back(std::move(cut));
    }
  }
  if (windows.empty()) fail(ErrorCode::kInvalidArgument, context.source, "no tokens to score");
  return windows;
}

/// Number of windows from `begin` on that go into one forward call.
int64_t batch_size(std::span<const ScoreWindow> windows, int64_t most_tokens) {
  int64_t tokens = 0, count = 0;
  for (const ScoreWindow& window : windows) {
    tokens += std::ssize(window.ids);
    if (count > 0 && tokens > most_tokens) break;
    ++count;
  }
  return count;
}

EvalResult make_result(const Protocol& protocol, const Tally& tally, bool has_reference) {
  const RunningMoments& moments = protocol.mean == Mean::kOfWindows ? tally.windows : tally.tokens;
  const RunningMoments& spread = moments.count > 1 ? moments : tally.tokens;
  EvalResult result;
  result.windows = tally.windows.count;
  result.tokens = tally.tokens.count;
  result.nats_per_token = moments.mean;
  result.nats_last_position = tally.last_positions.mean;
  result.perplexity = std::exp(moments.mean);
  result.perplexity_stderr = result.perplexity * spread.standard_error();
  if (has_reference) result.divergence = summarize(tally);
  return result;
}

}  // namespace

std::vector<EvalResult> evaluate_all(std::span<const Model* const> models, const Model* reference,
                                     std::span<const std::vector<int32_t>> texts,
                                     int64_t text_bytes, const EvalRequest& request,
                                     const ProtocolContext& protocol_context, const Context& ctx,
                                     ReferenceStates* kept) {
  const Clock::time_point start = Clock::now();
  const Protocol& protocol = find_protocol(request.protocol);
  if (request.window < 0 || request.max_windows < 0) {
    fail(ErrorCode::kInvalidArgument, request.window < 0 ? "--window" : "--windows",
         "expected 0 or more, found {}", request.window < 0 ? request.window : request.max_windows);
  }
  if (!protocol.needs_text && request.window != 0) {
    fail(ErrorCode::kInvalidArgument, "--window", "protocol {} takes sequences whole",
         protocol.name);
  }
  int64_t usual =
      protocol.default_window != 0 ? protocol.default_window : protocol_context.config.context;
  if (!protocol.needs_text && reference != nullptr) {
    usual = std::min(usual, reference->config().context);
  }
  const int64_t window = request.window != 0 ? request.window : usual;
  std::vector<const Model*> all(models.begin(), models.end());
  if (reference != nullptr) all.push_back(reference);
  check_models(all, protocol, window);
  check_ids(texts, *models.front(), protocol_context.source);
  const std::vector<ScoreWindow> windows =
      cut_texts(protocol, texts, window, request.max_windows, protocol_context);

  Scorer scorer(models, reference, kept, ctx);
  const std::span<const ScoreWindow> rest(windows);
  for (int64_t begin = 0; begin < std::ssize(windows);) {
    ctx.report("evaluate", begin, std::ssize(windows));
    const int64_t count = batch_size(rest.subspan(begin), request.batch_tokens);
    scorer.score(rest.subspan(begin, count));
    begin += count;
  }
  ctx.report("evaluate", std::ssize(windows), std::ssize(windows));

  int64_t text_tokens = 0;
  for (const std::vector<int32_t>& ids : texts) text_tokens += std::ssize(ids);
  const std::string hash = token_hash(texts);
  const double taken = seconds_since(start);
  std::vector<EvalResult> results;
  for (const Tally& tally : scorer.tallies()) {
    EvalResult result = make_result(protocol, tally, reference != nullptr);
    result.protocol = window == usual ? std::string(protocol.name)
                                      : fmt::format("{}:window={}", protocol.name, window);
    result.token_sha256 = hash;
    result.seconds = taken;
    if (text_bytes > 0) {
      result.bits_per_byte = result.nats_per_token / std::numbers::ln2 *
                             static_cast<double>(text_tokens) / static_cast<double>(text_bytes);
    }
    results.push_back(std::move(result));
  }
  return results;
}

EvalResult evaluate(const Model& model, const Model* reference,
                    std::span<const std::vector<int32_t>> texts, int64_t text_bytes,
                    const EvalRequest& request, const ProtocolContext& protocol_context,
                    const Context& ctx, ReferenceStates* kept) {
  const Model* const models[] = {&model};
  return evaluate_all(models, reference, texts, text_bytes, request, protocol_context, ctx, kept)
      .front();
}

nlohmann::ordered_json to_json(const EvalResult& result) {
  OrderedJson json;
  json["protocol"] = result.protocol;
  json["windows"] = result.windows;
  json["tokens"] = result.tokens;
  json["token_sha256"] = result.token_sha256;
  json["nats_per_token"] = result.nats_per_token;
  json["nats_last_position"] = result.nats_last_position;
  json["perplexity"] = result.perplexity;
  json["perplexity_stderr"] = result.perplexity_stderr;
  json["bits_per_byte"] = nullptr;
  if (result.bits_per_byte) json["bits_per_byte"] = *result.bits_per_byte;
  if (result.divergence) {
    json["kl_mean"] = result.divergence->kl_mean;
    json["kl_median"] = result.divergence->kl_median;
    json["kl_p99"] = result.divergence->kl_p99;
    json["top1_agreement"] = result.divergence->top1_agreement;
  }
  json["seconds"] = result.seconds;
  return json;
}

}  // namespace twofold
