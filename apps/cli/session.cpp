#include "session.h"

#include "interrupt.h"

namespace twofold::cli {

Session::Session(const CommonFlags& common, std::string command_line)
    : common_(common),
      command_line_(std::move(command_line)),
      console_(common.quiet),
      pool_(static_cast<int>(common.threads)),
      ctx_{.pool = pool_,
           .isa = select_isa(),
           .cancel = &interrupted(),
           .progress = [this](std::string_view what, int64_t done,
                              int64_t total) { console_.progress(what, done, total); },
           .log = [this](std::string_view line) { console_.log(line); }} {}

void Session::print(std::string_view text) {
  console_.clear();
  out_.write(text);
}

void Session::print_json(const OrderedJson& json) { print(dump_json(json)); }

}  // namespace twofold::cli
