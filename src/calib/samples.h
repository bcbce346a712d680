// Calibration samples: windows of token ids from the user's texts, or from the set that is built
// into the program.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace twofold {

enum class Sampling {
  kShuffled,     // documents shuffled by seed, joined with EOS, cut into windows
  kConsecutive,  // windows from the start of the texts, unshuffled and unjoined
};

struct CalibrationOptions {
  std::vector<std::filesystem::path> files = {};  // empty: the built-in set
  int64_t samples = 128;                          // windows
  int64_t context = 2048;                         // tokens per window
  Sampling sampling = Sampling::kShuffled;
};

struct CalibrationSamples {
  std::vector<std::vector<int32_t>> windows;    // [samples][context], distinct
  std::vector<std::vector<int32_t>> held_back;  // tokens that no window has: scores the result
  std::string text_sha256;                      // of all texts
  std::string source;                           // what a report says: files, or the built-in set
};

/// Reads, tokenizes and cuts. Documents: jsonl with "text"; or separated by a <doc> line; or one a
/// line where a file is marked so; a file without marks is one document.
/// @param context_limit the model's own; a longer options.context is cut to it.
/// @throws Error(kInvalidArgument) with tokens needed and found if there is too little text;
/// Error(kCorruptFile) naming file and line on text that is not UTF-8 or a document without text.
CalibrationSamples load_samples(const CalibrationOptions& options, const Tokenizer& tokenizer,
                                int64_t context_limit, uint64_t seed);

}  // namespace twofold
