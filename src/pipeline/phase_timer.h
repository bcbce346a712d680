// PhaseTimer: where the time of a run goes.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "pipeline/quantize_model.h"

namespace twofold {

/// Adds the time of its life to a phase of the report.
class PhaseTimer {
 public:
  PhaseTimer(std::vector<PhaseSeconds>& phases, std::string_view phase)
      : phases_(phases), phase_(phase) {}
  ~PhaseTimer() {
    auto row = std::ranges::find(phases_, phase_, &PhaseSeconds::phase);
    if (row == phases_.end()) row = phases_.insert(row, {std::string(phase_), 0});
    row->seconds += seconds_since(start_);
  }
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;

 private:
  std::vector<PhaseSeconds>& phases_;
  std::string_view phase_;
  Clock::time_point start_ = Clock::now();
};

}  // namespace twofold
