#include "text/decode_stages.h"

#include <algorithm>

namespace twofold {
namespace {

/// A chain of replacements must not be able to take all memory.
constexpr size_t kLongestToken = size_t{1} << 28;

/// The byte that <0xNN> names, or -1.
int byte_of_token(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return -1;
  int byte = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    byte = byte * 16 + digit;
  }
  return byte;
}

void append_replaced(std::string& result, std::string_view text, std::string_view pattern,
                     std::string_view content) {
  for (;;) {
    const size_t at = text.find(pattern);
    result.append(text.substr(0, at));
    if (at == std::string_view::npos) return;
    result.append(content);
    text.remove_prefix(at + pattern.size());
  }
}

}  // namespace

void WholeTokenStage::part(std::string_view text, bool last) {
  if (!last) {
    held_ += text;
  } else if (held_.empty()) {
    token(text);
  } else {
    held_ += text;
    const std::string whole = std::move(held_);
    held_.clear();
    token(whole);
  }
}

void JoinStage::part(std::string_view text, bool last) {
  if (!token_started_ && any_) next_->part(" ", false);
  any_ = true;
  token_started_ = !last;
  next_->part(text, last);
}

void FuseStage::part(std::string_view text, bool) { next_->part(text, false); }

void FuseStage::finish() {
  next_->part({}, true);
  next_->finish();
}

void ByteLevelStage::token(std::string_view text) {
  if (!append_bytes_of_characters(bytes_, text)) bytes_ += text;
  std::string certain;
  size_t at = 0;
  while (at < bytes_.size()) {
    const Utf8Unit unit = utf8_unit(bytes_, at);
    if (unit.truncated) break;
    certain += unit.valid ? std::string_view(bytes_).substr(at, unit.bytes) : kReplacementCharacter;
    at += unit.bytes;
  }
  bytes_.erase(0, at);
  next_->part(certain, false);
}

void ByteLevelStage::finish() {
  next_->part(to_valid_utf8(bytes_), true);
  bytes_.clear();
  next_->finish();
}

void ByteFallbackStage::token(std::string_view text) {
  const int byte = byte_of_token(text);
  if (byte >= 0) {
    bytes_.push_back(static_cast<char>(byte));
    return;
  }
  put_bytes();
  next_->part(text, true);
}

void ByteFallbackStage::put_bytes() {
  if (bytes_.empty()) return;
  const std::string bytes = std::move(bytes_);
  bytes_.clear();
  if (is_utf8(bytes)) return next_->part(bytes, true);
  for (size_t i = 0; i < bytes.size(); ++i) next_->part(kReplacementCharacter, true);
}

void ByteFallbackStage::finish() {
  put_bytes();
  next_->finish();
}

void ReplaceStage::part(std::string_view text, bool last) {
  held_ += text;
  const std::string* literal = pattern_->literal();
  if (last) {
    const std::string whole = pattern_->replace_all(held_, content_);
    held_.clear();
    if (whole.size() > kLongestToken) {
      fail(ErrorCode::kUnsupported, "tokenizer", "the decoder makes a token of {} bytes",
           whole.size());
    }
    return next_->part(whole, true);
  }
  // What a regular expression matches may depend on all the rest of the token.
  if (literal == nullptr) return;
  size_t done = 0;
  std::string certain;
  if (!literal->empty()) {
    for (size_t at = held_.find(*literal); at != std::string::npos;
         at = held_.find(*literal, done)) {
      certain.append(held_, done, at - done).append(content_);
      done = at + literal->size();
    }
  }
  size_t keep = std::min(held_.size() - done, literal->empty() ? 0 : literal->size() - 1);
  while (keep > 0 && literal->compare(0, keep, held_, held_.size() - keep, keep) != 0) --keep;
  certain.append(held_, done, held_.size() - keep - done);
  held_.erase(0, held_.size() - keep);
  if (!certain.empty()) next_->part(certain, false);
}

void StripStage::part(std::string_view text, bool last) {
  while (start_left_ > 0 && !text.empty()) {
    if (text.substr(0, content_.size()) != content_) {
      start_left_ = 0;
    } else {
      text.remove_prefix(content_.size());
      --start_left_;
    }
  }
  int64_t trailing = 0;
  size_t end = text.size();
  while (end >= content_.size() &&
         text.compare(end - content_.size(), content_.size(), content_) == 0) {
    end -= content_.size();
    ++trailing;
  }
  std::string certain;
  const auto put_held = [&](int64_t count) {
    for (; count > 0; --count) certain += content_;
  };
  if (end > 0) {
    put_held(held_);
    held_ = 0;
    certain += text.substr(0, end);
  }
  held_ += trailing;
  // Only the last `stop_` can be cut off.
  const int64_t surplus = std::max<int64_t>(0, held_ - stop_);
  put_held(surplus);
  held_ -= surplus;
  if (last) {
    held_ = 0;
    start_left_ = start_;
  }
  if (last || !certain.empty()) next_->part(certain, last);
}

void MetaspaceStage::part(std::string_view text, bool last) {
  std::string replaced;
  append_replaced(replaced, text, symbol_, first_ && prefix_ ? "" : " ");
  if (last) first_ = false;
  next_->part(replaced, last);
}

void SuffixStage::put(std::string_view replacement) {
  if (!any_) return;
  std::string replaced;
  append_replaced(replaced, held_, suffix_, replacement);
  next_->part(replaced, true);
}

void SuffixStage::token(std::string_view text) {
  put(" ");
  held_ = text;
  any_ = true;
}

void SuffixStage::finish() {
  put("");
  any_ = false;
  next_->finish();
}

void WordPieceStage::token(std::string_view text) {
  std::string word;
  if (!first_) {
    if (text.substr(0, prefix_.size()) == prefix_) {
      text.remove_prefix(prefix_.size());
    } else {
      word = ' ';
    }
  }
  first_ = false;
  word += text;
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [pattern, content] : kRules) {
    if (!cleanup_) break;
    std::string replaced;
    append_replaced(replaced, word, pattern, content);
    word = std::move(replaced);
  }
  next_->part(word, true);
}

void SentencePieceStage::put(std::string_view text) {
  if (text.empty()) return;
  at_start_ = false;
  next_->part(text, true);
}

void SentencePieceStage::put_bytes(bool all) {
  std::string certain;
  size_t at = 0;
  while (at < bytes_.size()) {
    const Utf8Unit unit = utf8_unit(bytes_, at);
    if (unit.truncated && !all) break;
    if (unit.valid) {
      certain.append(bytes_, at, unit.bytes);
    } else {
      for (int i = 0; i < unit.bytes; ++i) certain += kReplacementCharacter;
    }
    at += unit.bytes;
  }
  bytes_.erase(0, at);
  put(certain);
}

void SentencePieceStage::token(std::string_view text) {
  const int byte = options_->byte_tokens ? byte_of_token(text) : -1;
  if (byte >= 0) {
    bytes_.push_back(static_cast<char>(byte));
    return put_bytes(false);
  }
  put_bytes(true);
  const bool restarts = !options_->restart.empty() && text == options_->restart;
  const auto surface = options_->surfaces.find(text);
  if (surface != options_->surfaces.end()) {
    put(surface->second);
  } else {
    using Strip = SentencePieceDecoding::Strip;
    const bool starts = text.substr(0, options_->space.size()) == options_->space;
    if (at_start_ && starts && options_->strip != Strip::kNone) {
      text.remove_prefix(options_->space.size());
      if (options_->strip == Strip::kFirst) at_start_ = false;
    }
    std::string replaced;
    append_replaced(replaced, text, options_->space, " ");
    put(replaced);
  }
  if (restarts) at_start_ = true;
}

void SentencePieceStage::finish() {
  put_bytes(true);
  next_->finish();
}

}  // namespace twofold
