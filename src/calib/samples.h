// Calibration samples: windows of token ids from the user's texts, or from the set that is built
// into the program.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace twofold {

enum class Sampling {
  kShuffled,     // documents shuffled by seed, joined with EOS, cut into windows
  kConsecutive,  // windows from the start of the texts, unshuffled and unjoined
};

/// One row of the table that names the values of Sampling for command lines and reports.
struct SamplingMode {
  std::string_view name, help;
  Sampling sampling;
};
std::span<const SamplingMode> all_samplings();
/// @throws Error(kInvalidArgument) listing the names.
const SamplingMode& find_sampling(std::string_view name);

struct CalibrationOptions {
  std::vector<std::filesystem::path> files = {};  // empty: the built-in set
  int64_t samples = 128;                          // windows
  int64_t context = 2048;                         // tokens per window
  Sampling sampling = Sampling::kShuffled;
  const std::atomic<bool>* cancel = nullptr;  // ends the wait for a file that is a pipe
};

struct CalibrationSamples {
  std::vector<std::vector<int32_t>> windows = {};  // [samples][context], no two alike
  // The text after the windows, which scores the result: at most 4 windows of at most 512 tokens
  // and of the samples' context; fewer, or none, where the text ends.
  std::vector<std::vector<int32_t>> held_back = {};
  std::string text_sha256 = {};  // of the bytes of all files, one after the other
  std::string source = {};       // what a report says: files, or the built-in set
};

/// Reads, tokenizes and cuts; no special tokens but EOS between documents. How files mark their
/// documents: calib/documents.h. Windows equal to an earlier one are skipped.
/// @param context_limit the model's own; a longer options.context is cut to it.
/// @throws Error(kInvalidArgument) with tokens needed and found if there is too little text;
/// Error(kIo) on a missing file; Error(kCancelled) as read_text_file; Error(kCorruptFile) naming
/// file and line on text that is not UTF-8 or a document without text.
CalibrationSamples load_samples(const CalibrationOptions& options, const Tokenizer& tokenizer,
                                int64_t context_limit, uint64_t seed);

}  // namespace twofold
