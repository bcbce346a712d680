// Session: what a command gets to work with: threads, context, output, and the common flags.
#pragma once

#include <string>

#include "base/context.h"
#include "base/json.h"
#include "console.h"
#include "flag_table.h"

namespace twofold::cli {

class Session {
 public:
  /// @param command_line as it was typed, for reports.
  Session(const CommonFlags& common, std::string command_line);

  const Context& ctx() const { return ctx_; }
  /// What packed matrices are multiplied by from now on, by its name.
  void use_activations(std::string_view name) {
    ctx_.activations = find_activations(name).activations;
  }
  Output& out() { return out_; }
  Console& console() { return console_; }
  bool json() const { return common_.json; }
  const std::string& command_line() const { return command_line_; }

  /// Writes the result of a command: after the progress bar has gone.
  void print(std::string_view text);
  void print_json(const OrderedJson& json);

 private:
  CommonFlags common_;
  std::string command_line_;
  Output out_;
  Console console_;
  ThreadPool pool_;
  Context ctx_;
};

}  // namespace twofold::cli
