// twofold generate: writes text after a prompt.
#include <fmt/ranges.h>

#include "chat.h"
#include "commands.h"
#include "engine/generate.h"
#include "engine/kv_cache.h"
#include "model_input.h"
#include "session.h"
#include "token_ids.h"

namespace twofold::cli {

namespace {

constexpr int64_t kAnswerTokens = 1024;  // of --chat, unless -n says something else

struct GenerateFlags {
  std::string model, prompt, file, token_ids, tokenizer;
  std::string activations = "int8";
  bool no_display_prompt = false;
  std::optional<int64_t> max_tokens;
  ChatFlags chat;
  GenerateOptions options;
};

double rate(int64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

OrderedJson result_json(const GenerateResult& result) {
  OrderedJson json;
  json["prompt_tokens"] = result.prompt_tokens;
  json["cached_tokens"] = result.cached_tokens;
  json["generated_tokens"] = result.ids.size();
  json["ids"] = result.ids;
  json["text"] = result.text;
  json["stop_reason"] = stop_reason_name(result.reason);
  json["prompt_seconds"] = result.prompt_seconds;
  json["generate_seconds"] = result.generate_seconds;
  json["prompt_tokens_per_second"] =
      rate(result.prompt_tokens - result.cached_tokens, result.prompt_seconds);
  json["tokens_per_second"] = rate(std::ssize(result.ids), result.generate_seconds);
  json["kv_cache_bytes"] = result.kv_cache_bytes;
  return json;
}

void note_timing(const GenerateResult& result, Session& session) {
  session.ctx().note(fmt::format(
      "prompt {} tokens, {:.1f} tokens/s; generated {} tokens, {:.1f} tokens/s; stopped by {}; "
      "cache {:.1f} MB",
      result.prompt_tokens,
      rate(result.prompt_tokens - result.cached_tokens, result.prompt_seconds), result.ids.size(),
      rate(std::ssize(result.ids), result.generate_seconds), stop_reason_name(result.reason),
      static_cast<double>(result.kv_cache_bytes) / 1e6));
}

std::string prompt_text(const GenerateFlags& flags) {
  if (flags.file.empty()) return flags.prompt;
  std::string text = read_input(flags.file);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

/// Positions of the cache. @throws Error(kInvalidArgument) if the model has not as many.
int64_t cache_size(const GenerateFlags& flags, const ModelConfig& config) {
  if (flags.options.context > config.context) {
    fail(ErrorCode::kInvalidArgument, "--ctx-size",
         "expected at most the {} positions of {}, found {}", config.context, flags.model,
         flags.options.context);
  }
  return flags.options.context > 0 ? flags.options.context : config.context;
}

/// Ids of the prompt, at most `positions` of them.
std::vector<int32_t> prompt_ids(const GenerateFlags& flags, const std::string& text,
                                const Tokenizer& tokenizer, const ModelConfig& config,
                                int64_t positions) {
  if (!text.empty()) {
    const std::string where = flags.file.empty() ? "--prompt" : flags.file;
    std::vector<int32_t> ids = tokenizer.encode(text, {.add_special = true});
    if (ids.empty()) {
      fail(ErrorCode::kInvalidArgument, where,
           "expected text of the model's vocabulary, found nothing that is in it");
    }
    if (std::ssize(ids) > positions) {
      fail(ErrorCode::kInvalidArgument, where,
           "expected at most the {} tokens of the context, found {}", positions, ids.size());
    }
    return ids;
  }
  const int32_t bos = tokenizer.bos_id() >= 0 ? tokenizer.bos_id() : config.bos_id;
  if (bos < 0 || bos >= config.vocab_size) {
    fail(ErrorCode::kInvalidArgument, "--prompt",
         "expected text: {} has no BOS token among its {} to start from", flags.model,
         config.vocab_size);
  }
  return {bos};
}

void run_text(const GenerateFlags& flags, const Model& model, Session& session) {
  const int64_t positions = cache_size(flags, model.config());
  const auto tokenizer = require_tokenizer(model, flags.tokenizer);
  const std::string text = prompt_text(flags);
  const std::vector<int32_t> ids = prompt_ids(flags, text, *tokenizer, model.config(), positions);
  // The prompt is printed after its pass: the progress bar of that pass takes a line of its own.
  bool prompt_due = !flags.no_display_prompt && !session.json();
  const auto print_prompt = [&] {
    if (prompt_due) session.print(text);
    prompt_due = false;
  };
  std::function<void(std::string_view)> stream;
  if (!session.json()) {
    stream = [&](std::string_view piece) {
      print_prompt();
      session.print(piece);
    };
  }
  const GenerateResult result =
      generate(model, tokenizer.get(), ids, flags.options, session.ctx(), stream);
  print_prompt();
  if (session.json()) {
    OrderedJson json;
    json["results"] = {result_json(result)};
    session.print_json(json);
  } else if (session.out().is_terminal()) {
    session.print("\n");
  }
  note_timing(result, session);
}

void run_conversation(const GenerateFlags& flags, const Model& model, Session& session) {
  const auto tokenizer = require_tokenizer(model, flags.tokenizer);
  const bool one = !flags.prompt.empty() || !flags.file.empty();
  OrderedJson results = OrderedJson::array();
  GenerateOptions options = flags.options;
  options.context = cache_size(flags, model.config());
  Chat chat({model, *tokenizer, flags.chat, options}, session);
  const auto on_answer = [&](const GenerateResult& result) {
    results.push_back(result_json(result));
    note_timing(result, session);
  };
  if (one) {
    on_answer(chat.answer(prompt_text(flags)));
  } else {
    chat.run(on_answer);
  }
  OrderedJson json;
  json["results"] = std::move(results);
  if (session.json()) session.print_json(json);
}

void run_ids(const GenerateFlags& flags, const Model& model, Session& session) {
  const IdLimits limits{.model = flags.model,
                        .vocab_size = model.config().vocab_size,
                        .max_count = cache_size(flags, model.config())};
  OrderedJson results = OrderedJson::array();
  for (const std::vector<int32_t>& prompt : read_token_ids(flags.token_ids, limits)) {
    const GenerateResult result = generate(model, nullptr, prompt, flags.options, session.ctx());
    if (session.json()) {
      results.push_back(result_json(result));
    } else {
      session.print(fmt::format("{}\n", fmt::join(result.ids, " ")));
    }
    note_timing(result, session);
  }
  OrderedJson json;
  json["results"] = std::move(results);
  if (session.json()) session.print_json(json);
}

void run_generate(GenerateFlags& flags, Session& session) {
  const int sources = (flags.prompt.empty() ? 0 : 1) + (flags.file.empty() ? 0 : 1) +
                      (flags.token_ids.empty() ? 0 : 1);
  if (sources > 1) {
    fail(ErrorCode::kInvalidArgument, "generate",
         "--prompt, --file and --token-ids exclude each other");
  }
  if (!flags.token_ids.empty() && !flags.options.stop.empty()) {
    fail(ErrorCode::kInvalidArgument, "--reverse-prompt", "needs text, not --token-ids");
  }
  check_chat_flags(flags.chat);
  flags.options.max_tokens =
      flags.max_tokens.value_or(flags.chat.chat ? kAnswerTokens : flags.options.max_tokens);
  if (flags.chat.chat && !flags.token_ids.empty()) {
    fail(ErrorCode::kInvalidArgument, "--chat", "needs text, not --token-ids");
  }
  session.use_activations(flags.activations);
  const auto model = load_model(flags.model, session);
  if (flags.chat.chat) {
    run_conversation(flags, *model, session);
  } else if (flags.token_ids.empty()) {
    run_text(flags, *model, session);
  } else {
    run_ids(flags, *model, session);
  }
}

std::vector<Flag> sampler_flags(SamplerOptions& sampler) {
  return {
      {.names = "--temp",
       .value = "X",
       .target = &sampler.temperature,
       .help = "temperature; 0 = always the most likely token",
       .min = 0},
      {.names = "--top-k",
       .value = "N",
       .target = &sampler.top_k,
       .help = "only the N most likely tokens; 0 = all",
       .min = 0},
      {.names = "--top-p",
       .value = "X",
       .target = &sampler.top_p,
       .help = "only the most likely tokens that add up to X; 1 = all",
       .min = 0,
       .max = 1,
       .above_min = true},
      {.names = "--min-p",
       .value = "X",
       .target = &sampler.min_p,
       .help = "only tokens at least X times as likely as the best; 0 = all",
       .min = 0,
       .max = 1},
      {.names = "--repeat-penalty",
       .value = "X",
       .target = &sampler.repeat_penalty,
       .help = "makes recent tokens less likely; 1 = off",
       .min = 0,
       .above_min = true},
      {.names = "--repeat-last-n",
       .value = "N",
       .target = &sampler.repeat_last_n,
       .help = "tokens that --repeat-penalty looks back at; 0 = off",
       .min = 0},
      seed_flag(sampler.seed, "of sampling; the same seed gives the same text"),
  };
}

std::vector<JsonKey> generate_json_keys() {
  return {{"results", "a list, one object per prompt, or per turn of --chat"},
          {"results[].prompt_tokens", "tokens of the prompt"},
          {"results[].cached_tokens", "of these, tokens kept from earlier turns of --chat"},
          {"results[].generated_tokens", "tokens generated"},
          {"results[].ids", "ids generated, without the prompt"},
          {"results[].text", "text generated, without the prompt; empty with --token-ids"},
          {"results[].stop_reason", "length, end token, stop string or context full"},
          {"results[].prompt_seconds", "time for the prompt"},
          {"results[].generate_seconds", "time for the generated tokens"},
          {"results[].prompt_tokens_per_second", ""},
          {"results[].tokens_per_second", "generated tokens per second"},
          {"results[].kv_cache_bytes", "memory of keys and values at the end"}};
}

}  // namespace

Command generate_command() {
  const auto flags = std::make_shared<GenerateFlags>();
  Command command{
      .name = "generate",
      .summary = "Continues a prompt and streams the text.",
      .details =
          "The prompt and its continuation go to standard output exactly as they are (a "
          "newline is added on a terminal). Without a prompt it starts from the model's BOS "
          "token. With --token-ids it continues ids and prints ids, a line per sequence. With "
          "--chat it answers: the model's chat template is put around what is said. A conversation "
          "that outgrows the context forgets its oldest turns, and says so. On a terminal Ctrl-C "
          "ends an answer, and at the prompt the program.",
      .common = std::make_shared<CommonFlags>(),
      .json_keys = generate_json_keys(),
      .run = [flags](Session& session) { run_generate(*flags, session); }};
  command.flags = {
      model_flag(flags->model),
      {.names = "-p,--prompt", .value = "TEXT", .target = &flags->prompt, .help = "the prompt"},
      {.names = "-f,--file",
       .value = "FILE",
       .target = &flags->file,
       .help = "file with the prompt; one newline at its end is left out"},
      token_ids_flag(flags->token_ids,
                     "prompts as ids: JSON lists or plain numbers, a sequence a line"),
      tokenizer_flag(flags->tokenizer),
      {.names = "-n,--n-predict",
       .value = "N",
       .target = &flags->max_tokens,
       .help = "tokens to generate; -1 = until the context is full",
       .min = -1,
       .fallback = fmt::format("{}, with --chat {}", flags->options.max_tokens, kAnswerTokens)},
      {.names = "-c,--ctx-size",
       .value = "N",
       .target = &flags->options.context,
       .help = "positions of the cache, at most the model's context; 0 = that",
       .min = 0},
      {.names = "--kv-cache",
       .value = "FORM",
       .target = &flags->options.kv_cache,
       .help = "how keys and values of past tokens are stored",
       .choices = choices_of(kv_formats())},
      {.names = "-r,--reverse-prompt",
       .value = "TEXT",
       .target = &flags->options.stop,
       .help = "stops before this text; may be given several times"},
      {.names = "--ignore-eos",
       .target = &flags->options.ignore_eos,
       .help = "goes on after the end token"},
      activations_flag(flags->activations),
      {.names = "--no-display-prompt",
       .target = &flags->no_display_prompt,
       .help = "prints only what is generated"},
  };
  for (Flag& flag : chat_flags(flags->chat)) command.flags.push_back(std::move(flag));
  for (Flag& flag : sampler_flags(flags->options.sampler)) {
    command.flags.push_back(std::move(flag));
  }
  command.flags.push_back(json_flag(*command.common));
  return command;
}

}  // namespace twofold::cli
