#include "calib/samples.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <set>

#include "base/registry.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "calib/builtin_texts.h"
#include "calib/documents.h"
#include "io/file.h"

namespace twofold {
namespace {

constexpr int64_t kHeldBackTokens = 2048;
constexpr int64_t kHeldBackContext = 512;

struct Texts {
  std::vector<std::string> pieces;  // tokenized one by one
  int32_t separator = -1;           // between the tokens of pieces; -1: nothing
  std::string sha256, source;
};

using ReadPieces = std::vector<std::string> (*)(std::string_view file_name, std::string_view text,
                                                std::string_view where);

/// The pieces of all files, in order.
Texts read_texts(const CalibrationOptions& options, ReadPieces read) {
  Texts texts;
  Sha256 hash;
  const auto add = [&](std::string_view file_name, std::string_view text, std::string_view where) {
    hash.update(text);
    std::ranges::move(read(file_name, text, where), std::back_inserter(texts.pieces));
    texts.source += fmt::format("{}{}", texts.source.empty() ? "" : ", ", where);
  };
  for (const std::filesystem::path& path : options.files) {
    add(path.filename().string(), read_text_file(path, options.cancel), path.string());
  }
  if (options.files.empty()) {
    for (const BuiltinText& text : builtin_texts()) {
      add(text.file_name, text.text, fmt::format("built-in {}", text.file_name));
    }
  }
  texts.sha256 = hash.hex();
  return texts;
}

/// Shuffled by Fisher and Yates.
Texts shuffled_texts(const CalibrationOptions& options, const Tokenizer& tokenizer, uint64_t seed) {
  Texts texts = read_texts(options, read_documents);
  Rng rng(seed, "calibration/documents");
  for (size_t i = texts.pieces.size(); i > 1; --i) {
    std::swap(texts.pieces[i - 1], texts.pieces[rng.below(i)]);
  }
  texts.separator = tokenizer.eos_id();
  return texts;
}

Texts consecutive_texts(const CalibrationOptions& options) {
  return read_texts(options,
                    [](std::string_view file_name, std::string_view text, std::string_view where) {
                      return std::vector<std::string>{read_whole(file_name, text, where)};
                    });
}

Texts texts_of(const CalibrationOptions& options, const Tokenizer& tokenizer, uint64_t seed) {
  switch (options.sampling) {
    case Sampling::kShuffled:
      return shuffled_texts(options, tokenizer, seed);
    case Sampling::kConsecutive:
      return consecutive_texts(options);
  }
  fail(ErrorCode::kInternal, "sampling", "not listed");
}

/// A stream of tokens that is made as it is read: no more text is tokenized than is needed.
class TokenStream {
 public:
  TokenStream(const Texts& texts, const Tokenizer& tokenizer)
      : texts_(texts), tokenizer_(tokenizer) {}

  /// The next `count` tokens, or as many as there are.
  std::vector<int32_t> take(int64_t count) {
    while (static_cast<int64_t>(ids_.size() - at_) < count && next_ < texts_.pieces.size()) {
      if (next_ > 0 && texts_.separator >= 0) ids_.push_back(texts_.separator);
      const std::vector<int32_t> more = tokenizer_.encode(texts_.pieces[next_++]);
      ids_.insert(ids_.end(), more.begin(), more.end());
    }
    const size_t taken = std::min(static_cast<size_t>(count), ids_.size() - at_);
    const auto begin = ids_.begin() + static_cast<int64_t>(at_);
    at_ += taken;
    return {begin, begin + static_cast<int64_t>(taken)};
  }
  int64_t taken() const { return static_cast<int64_t>(at_); }

 private:
  const Texts& texts_;
  const Tokenizer& tokenizer_;
  size_t next_ = 0, at_ = 0;
  std::vector<int32_t> ids_;
};

constexpr std::array kSamplings = {
    SamplingMode{"shuffled", "documents shuffled by seed, joined with EOS, cut into windows",
                 Sampling::kShuffled},
    SamplingMode{"consecutive", "windows from the start of the texts, unshuffled and unjoined",
                 Sampling::kConsecutive},
};

}  // namespace

std::span<const SamplingMode> all_samplings() { return kSamplings; }
const SamplingMode& find_sampling(std::string_view name) {
  return find_entry(all_samplings(), "sampling", name);
}

CalibrationSamples load_samples(const CalibrationOptions& options, const Tokenizer& tokenizer,
                                int64_t context_limit, uint64_t seed) {
  const int64_t context = std::min(options.context, context_limit);
  if (options.samples < 1 || context < 1) {
    fail(ErrorCode::kInvalidArgument, "calibration",
         "expected at least one window of at least one token, found {} of {}", options.samples,
         context);
  }
  const Texts texts = texts_of(options, tokenizer, seed);
  TokenStream stream(texts, tokenizer);
  CalibrationSamples samples{.text_sha256 = texts.sha256, .source = texts.source};
  std::set<std::vector<int32_t>> seen;
  while (static_cast<int64_t>(samples.windows.size()) < options.samples) {
    std::vector<int32_t> window = stream.take(context);
    if (static_cast<int64_t>(window.size()) < context) {
      fail(ErrorCode::kInvalidArgument, fmt::format("calibration text ({})", texts.source),
           "expected {} distinct windows of {} tokens, {} tokens in all; found {} in {} tokens",
           options.samples, context, options.samples * context, samples.windows.size(),
           stream.taken());
    }
    if (seen.insert(window).second) samples.windows.push_back(std::move(window));
  }
  const int64_t length = std::min(context, kHeldBackContext);
  for (int64_t i = 0; i < kHeldBackTokens / length; ++i) {
    std::vector<int32_t> window = stream.take(length);
    if (window.size() >= 2 && !seen.contains(window))
      samples.held_back.push_back(std::move(window));
  }
  return samples;
}

}  // namespace twofold
