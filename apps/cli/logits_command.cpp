// twofold logits: the last position's logits of each sequence, as JSON.
#include <algorithm>
#include <cmath>

#include "base/aligned_buffer.h"
#include "commands.h"
#include "io/file.h"
#include "model_input.h"
#include "output_file.h"
#include "session.h"
#include "token_ids.h"

namespace twofold::cli {

namespace {

struct LogitsFlags {
  std::string model, token_ids, json;
  std::string activations = "float";
};

/// Shortest decimal numbers that read back as the same float32.
std::string row_text(std::span<const float> row, int64_t sequence) {
  std::string text = "[";
  for (const float value : row) {
    if (!std::isfinite(value)) {
      fail(ErrorCode::kUnsupported, fmt::format("sequence {}", sequence),
           "expected finite logits, found {}", value);
    }
    if (text.size() > 1) text += ",";
    fmt::format_to(std::back_inserter(text), "{}", value);
  }
  return text + "]";
}

void run_logits(const LogitsFlags& flags, Session& session) {
  if (flags.json != "-") check_output_file(flags.json);
  session.use_activations(flags.activations);
  const auto model = load_model(flags.model, session);
  const ModelConfig& config = model->config();
  const auto sequences = read_token_ids(
      flags.token_ids,
      {.model = flags.model, .vocab_size = config.vocab_size, .max_count = config.context});
  std::vector<float> row(static_cast<size_t>(config.vocab_size));
  std::string text = fmt::format("{{\"vocab_size\":{},\n\"logits\":[", config.vocab_size);
  for (int64_t i = 0; i < std::ssize(sequences); ++i) {
    session.ctx().check_cancelled();
    const std::vector<int32_t>& ids = sequences[i];
    const SequenceInput input{ids, nullptr};
    const AlignedBuffer<float> hidden = model->forward({&input, 1}, session.ctx());
    model->logits({hidden.data() + (std::ssize(ids) - 1) * config.hidden, 1, config.hidden},
                  {row.data(), 1, config.vocab_size}, session.ctx());
    text += (i > 0 ? ",\n" : "\n") + row_text(row, i + 1);
    session.ctx().report("logits", i + 1, std::ssize(sequences));
  }
  text += "\n]}\n";
  if (flags.json == "-") return session.print(text);
  write_text_file(flags.json, text);
}

}  // namespace

Command logits_command() {
  const auto flags = std::make_shared<LogitsFlags>();
  return {.name = "logits",
          .summary = "Writes the last position's logits of each sequence of ids.",
          .common = std::make_shared<CommonFlags>(),
          .flags = {model_flag(flags->model),
                    {.names = "--token-ids",
                     .value = "FILE",
                     .target = &flags->token_ids,
                     .help = "sequences of ids: JSON lists or plain numbers, a sequence a line",
                     .required = true},
                    activations_flag(flags->activations),
                    {.names = "--json",
                     .value = "OUT",
                     .target = &flags->json,
                     .help = "file to write; - = standard output",
                     .required = true}},
          .json_keys = {{"vocab_size", "numbers in each list"},
                        {"logits", "a list per sequence, in order"}},
          .run = [flags](Session& session) { run_logits(*flags, session); }};
}

}  // namespace twofold::cli
