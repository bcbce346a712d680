#include "quant/trellis_code.h"

#include "base/error.h"

namespace twofold {

bool is_invertible(const TrellisMixing& mixing) {
  uint64_t reached = 0;
  for (const uint8_t row : mixing) {
    if (row >= kTrellisLevels) return false;
  }
  for (uint32_t lo = 0; lo < kTrellisLevels; ++lo) {
    reached |= uint64_t{1} << trellis_index(mixing, lo);
  }
  return reached == ~uint64_t{0};
}

TrellisTile trellis_windows(const TrellisTile& symbols, int bits, int window) {
  TrellisTile windows;
  for (size_t step = 0; step < windows.size(); ++step) {
    uint32_t value = 0;
    for (int shift = 0; shift < window; shift += bits) {
      const size_t from = (step + static_cast<size_t>(shift / bits)) % symbols.size();
      value |= static_cast<uint32_t>(symbols[from]) << shift;
    }
    windows[step] = static_cast<uint16_t>(value);
  }
  return windows;
}

void fill_trellis_indices(const TrellisMixing& mixing, int window, std::span<uint8_t> index) {
  for (uint32_t w = 0; w < 1u << window; ++w) {
    index[w] = static_cast<uint8_t>(trellis_index(mixing, w));
  }
}

const TrellisCode& trained_trellis_code(int bits, int window) {
  for (const TrellisCode& code : kTrainedTrellisCodes) {
    if (code.bits == bits && code.window == window) return code;
  }
  fail(ErrorCode::kInvalidArgument, "trellis",
       "{} bits with windows of {} bits are not one of its "
       "codes: 1 to 4 bits with 12, 1 to 3 with 6",
       bits, window);
}

}  // namespace twofold
