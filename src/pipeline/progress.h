// Progress: counts the steps of a whole run, whatever phase it is in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/context.h"

namespace twofold {

class Progress {
 public:
  Progress(const Context& ctx, int64_t total) : ctx_(ctx), total_(total) {}

  /// What the bar says from now on.
  void phase(std::string text) {
    text_ = std::move(text);
    step(0);
  }
  /// `count` more steps are done. @throws Error(kCancelled).
  void step(int64_t count = 1) {
    ctx_.check_cancelled();
    done_ += count;
    ctx_.report(text_, done_, total_);
  }
  /// Steps that an earlier process did.
  void skip(int64_t count) { done_ += count; }
  int64_t done() const { return done_; }

 private:
  const Context& ctx_;
  int64_t total_, done_ = 0;
  std::string text_ = "quantize";
};

}  // namespace twofold
