// twofold eval: scores a model by a named protocol, alone or against a reference.
#include <fmt/ranges.h>

#include <limits>

#include "commands.h"
#include "eval/evaluate.h"
#include "eval/protocol.h"
#include "model_input.h"
#include "session.h"
#include "token_ids.h"

namespace twofold::cli {

namespace {

struct EvalFlags {
  std::string model, against, token_ids, tokenizer;
  std::vector<std::string> text;
  std::string activations = "float";
  EvalRequest request;
};

/// What is scored: ids, and what is known of the text they came from.
struct EvalInput {
  std::vector<std::vector<int32_t>> sequences;
  std::vector<std::string> files;
  int64_t bytes = 0;       // 0 if unknown
  int32_t added_bos = -1;  // BOS, if the tokenizer adds one
};

EvalInput read_text(const EvalFlags& flags, const Model& model) {
  const auto tokenizer = require_tokenizer(model, flags.tokenizer);
  std::string text;
  for (const std::string& file : flags.text) text += read_input(file);
  return {.sequences = {tokenizer->encode(text)},
          .files = flags.text,
          .bytes = std::ssize(text),
          .added_bos = tokenizer->adds_bos() ? tokenizer->bos_id() : -1};
}

/// `protocol` scores every sequence whole, unless it wants a text.
EvalInput read_ids(const EvalFlags& flags, const Protocol& protocol, const Model& model,
                   const Model* reference) {
  const int64_t context = model.config().context;
  const bool is_shorter = reference != nullptr && reference->config().context < context;
  const Model& shortest = is_shorter ? *reference : model;
  IdLimits limits{.model = shortest.files().path.string(),
                  .vocab_size = model.config().vocab_size,
                  .min_count = 0,  // the protocol says how many it needs
                  .max_count = std::numeric_limits<int64_t>::max()};
  if (!protocol.needs_text) {
    limits.min_count = 2;
    limits.max_count = shortest.config().context + 1;  // the last one is only a target
  }
  return {.sequences = read_token_ids(flags.token_ids, limits), .files = {flags.token_ids}};
}

std::string default_protocol(bool text) {
  for (const Protocol& protocol : all_protocols()) {
    if (protocol.needs_text == text) return std::string(protocol.name);
  }
  fail(ErrorCode::kInternal, "protocols", "none for this input");
}

std::string result_text(const EvalFlags& flags, const EvalInput& input, const EvalResult& result) {
  std::string text = fmt::format("model            {}\n", flags.model);
  text += fmt::format("text             {}\n", fmt::join(input.files, " "));
  text += fmt::format("protocol         {}: {} windows, {} targets\n", result.protocol,
                      result.windows, result.tokens);
  text += fmt::format("nats per token   {:.4f}\n", result.nats_per_token);
  text += fmt::format("perplexity       {:.4f} +- {:.4f}\n", result.perplexity,
                      result.perplexity_stderr);
  if (result.bits_per_byte) text += fmt::format("bits per byte    {:.4f}\n", *result.bits_per_byte);
  if (result.divergence) {
    text += fmt::format("KL from {}\n", flags.against);
    text += fmt::format("  mean           {:.6f}\n", result.divergence->kl_mean);
    text += fmt::format("  median         {:.6f}\n", result.divergence->kl_median);
    text += fmt::format("  99th percent   {:.6f}\n", result.divergence->kl_p99);
    text += fmt::format("same top token   {:.2f} %\n", 100 * result.divergence->top1_agreement);
  }
  const double speed = result.seconds > 0 ? static_cast<double>(result.tokens) / result.seconds : 0;
  return text + fmt::format("time             {:.2f} s, {:.0f} targets/s\n", result.seconds, speed);
}

OrderedJson result_json(const EvalFlags& flags, const EvalInput& input, const EvalResult& result) {
  OrderedJson json;
  json["model"] = flags.model;
  if (!flags.against.empty()) json["against"] = flags.against;
  json["text"] = input.files;
  json["text_bytes"] = nullptr;
  if (input.bytes > 0) json["text_bytes"] = input.bytes;
  json.update(to_json(result));
  return json;
}

void run_eval(const EvalFlags& flags, Session& session) {
  if (flags.text.empty() == flags.token_ids.empty()) {
    fail(ErrorCode::kInvalidArgument, "eval", "expected one of --text and --token-ids");
  }
  EvalRequest request = flags.request;
  if (request.protocol.empty()) request.protocol = default_protocol(flags.token_ids.empty());
  const Protocol& protocol = find_protocol(request.protocol);
  if (flags.token_ids.empty() && !protocol.needs_text) {
    fail(ErrorCode::kInvalidArgument, "--protocol", "{} scores --token-ids, not --text",
         request.protocol);
  }
  session.use_activations(flags.activations);
  const auto model = load_model(flags.model, session);
  const auto reference = flags.against.empty() ? nullptr : load_model(flags.against, session);
  const EvalInput input = flags.token_ids.empty()
                              ? read_text(flags, *model)
                              : read_ids(flags, protocol, *model, reference.get());
  const std::string source = fmt::format("{}", fmt::join(input.files, " "));
  const EvalResult result = evaluate(
      *model, reference.get(), input.sequences, input.bytes, request,
      {.config = model->config(), .bos_id = input.added_bos, .source = source}, session.ctx());
  if (session.json()) return session.print_json(result_json(flags, input, result));
  session.print(result_text(flags, input, result));
}

std::vector<JsonKey> eval_json_keys() {
  return {{"model", "as given"},
          {"against", "as given; only with --against"},
          {"text", "list of files, in order"},
          {"text_bytes", "bytes of the text; null with --token-ids"},
          {"protocol", "its name, with :window=N if --window changed it"},
          {"windows", "windows scored"},
          {"tokens", "targets scored"},
          {"token_sha256", "hash of all token ids of the text, as little-endian 32-bit integers"},
          {"nats_per_token", "mean loss; its exponential is the perplexity"},
          {"nats_last_position", "loss of the last target of a window, mean over windows"},
          {"perplexity", ""},
          {"perplexity_stderr",
           "perplexity x standard error of the mean loss (delta method), from the spread of window "
           "means where the protocol averages windows, else of token losses"},
          {"bits_per_byte",
           "nats_per_token / ln 2 x tokens of the text / text_bytes; null with --token-ids"},
          {"kl_mean", "KL(reference || model) in nats, mean over targets; only with --against"},
          {"kl_median", "its median; only with --against"},
          {"kl_p99", "its 99th percentile; only with --against"},
          {"top1_agreement",
           "share of targets where both models find the same token most likely, 0 to 1; only with "
           "--against"},
          {"seconds", "of scoring"}};
}

}  // namespace

Command eval_command() {
  const auto flags = std::make_shared<EvalFlags>();
  Command command{
      .name = "eval",
      .summary = "Scores a model on text: loss, perplexity, divergence from a reference.",
      .details =
          "The text is used byte for byte; several files are joined in the order given. It "
          "is tokenized once, without special tokens, and cut into windows by the protocol.",
      .common = std::make_shared<CommonFlags>(),
      .json_keys = eval_json_keys(),
      .run = [flags](Session& session) { run_eval(*flags, session); }};
  command.flags = {
      model_flag(flags->model),
      {.names = "--text",
       .value = "FILE...",
       .target = &flags->text,
       .help = "text files to score"},
      token_ids_flag(flags->token_ids,
                     "ids in place of text: JSON lists or plain numbers, a sequence a line"),
      {.names = "--protocol",
       .value = "PROTOCOL",
       .target = &flags->request.protocol,
       .help = "how the text is cut and which targets are scored",
       .choices = choices_of(all_protocols()),
       .fallback =
           fmt::format("{}; {} with --token-ids", default_protocol(true), default_protocol(false))},
      {.names = "--window",
       .value = "N",
       .target = &flags->request.window,
       .help = "length of a window; becomes part of the protocol's name",
       .min = 0,
       .fallback = "the protocol's"},
      {.names = "--windows",
       .value = "K",
       .target = &flags->request.max_windows,
       .help = "scores only the first K windows; 0 = all",
       .min = 0},
      {.names = "--against",
       .value = "MODEL",
       .target = &flags->against,
       .help = "reference: adds KL divergence and agreement; its activations are float"},
      activations_flag(flags->activations),
      tokenizer_flag(flags->tokenizer),
      json_flag(*command.common),
  };
  return command;
}

}  // namespace twofold::cli
