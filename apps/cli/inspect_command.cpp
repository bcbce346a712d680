// twofold inspect: what a model's matrices are stored as and what they cost.
#include "commands.h"
#include "pipeline/quantize_model.h"
#include "report_text.h"
#include "session.h"

namespace twofold::cli {

namespace {

struct InspectFlags {
  std::string model;
};

void run_inspect(const InspectFlags& flags, Session& session) {
  const ModelFiles files = open_model(flags.model);
  const QuantizeReport report = inspect_model(files);
  if (session.json()) return session.print_json(to_json(report));
  session.print(model_summary(files) + "\n" + matrix_table(report) + "\n" +
                others_table(*report.others) + "\n" + kinds_table(report) + "\n" +
                report_summary(report));
}

}  // namespace

Command inspect_command() {
  const auto flags = std::make_shared<InspectFlags>();
  Command command{.name = "inspect",
                  .summary = "Shows the matrices of a model: method, format, bits, bytes, loss.",
                  .details =
                      "Every byte is counted by what it holds. Reads headers, not weights: doctor, "
                      "generate and eval load the matrices and refuse damaged ones.",
                  .common = std::make_shared<CommonFlags>(),
                  .flags = {model_flag(flags->model)},
                  .json_keys = inspect_json_keys(),
                  .run = [flags](Session& session) { run_inspect(*flags, session); }};
  command.flags.push_back(json_flag(*command.common));
  return command;
}

}  // namespace twofold::cli
