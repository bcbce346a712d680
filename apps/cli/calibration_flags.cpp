#include "calibration_flags.h"

#include <charconv>

#include "calib/samples.h"
#include "commands.h"

namespace twofold::cli {

namespace {

/// Bytes of "800M", "4G" or a plain number.
int64_t parse_bytes(std::string_view flag, const std::string& text) {
  constexpr std::string_view kSuffixes = "KMGT";
  int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  const size_t power = rest == end ? 0 : kSuffixes.find(*rest) + 1;
  const bool known = rest == end || (rest + 1 == end && power > 0);
  if (error != std::errc() || !known || number <= 0 || number > INT64_MAX >> (10 * power)) {
    fail(ErrorCode::kInvalidArgument, flag,
         "expected bytes such as 800M or 4G (suffixes K, M, G, T), found '{}'", text);
  }
  return number << (10 * power);
}

}  // namespace

std::vector<Flag> calibration_flags(CalibrationFlags& flags) {
  return {
      {.names = "--calibration",
       .value = "FILE...",
       .target = &flags.files,
       .help = "texts that show which inputs matter: documents one a line or separated by <doc> "
               "lines, or jsonl with \"text\"; moments are then collected for every method",
       .fallback = "built-in texts, for methods that need moments"},
      {.names = "--samples",
       .value = "N",
       .target = &flags.samples,
       .help = "calibration windows",
       .min = 1,
       .fallback = fmt::format("{}", CalibrationOptions().samples)},
      {.names = "--context",
       .value = "N",
       .target = &flags.context,
       .help = "tokens per window, at most the model's context",
       .min = 2,
       .fallback = fmt::format("{}", CalibrationOptions().context)},
      {.names = "--sampling",
       .value = "SAMPLING",
       .target = &flags.sampling,
       .help = "how windows are cut from the texts",
       .choices = choices_of(all_samplings()),
       .fallback = std::string(all_samplings().front().name)},
      {.names = "--true-sequential",
       .target = &flags.true_sequential,
       .help = "collects the moments of an input after the earlier inputs of its block were "
               "quantized: slower"},
      {.names = "--memory",
       .value = "SIZE",
       .target = &flags.memory,
       .help = "most memory to use, such as 800M or 4G; the result does not depend on it",
       .fallback = "no limit"},
  };
}

void apply(const CalibrationFlags& flags, QuantizeOptions& options) {
  options.true_sequential = flags.true_sequential;
  if (flags.memory) options.memory_bytes = parse_bytes("--memory", *flags.memory);
  if (flags.files.empty() && !flags.samples && !flags.context && !flags.sampling) return;
  CalibrationOptions& calibration = options.calibration.emplace();
  calibration.files.assign(flags.files.begin(), flags.files.end());
  if (flags.samples) calibration.samples = *flags.samples;
  if (flags.context) calibration.context = *flags.context;
  if (flags.sampling) calibration.sampling = find_sampling(*flags.sampling).sampling;
}

}  // namespace twofold::cli
