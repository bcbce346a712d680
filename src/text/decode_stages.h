// The stages that decoders are made of. One object decodes one sequence; not shared by threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "text/decoder.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace twofold {

/// Base of stages that look at whole tokens.
class WholeTokenStage : public DecodeStage {
 public:
  void part(std::string_view text, bool last) final;

 protected:
  virtual void token(std::string_view text) = 0;

 private:
  std::string held_;
};

/// Tokens, a space between two.
class JoinStage : public DecodeStage {
 public:
  void part(std::string_view text, bool last) override;

 private:
  bool token_started_ = false, any_ = false;
};

/// All tokens as one.
class FuseStage : public DecodeStage {
 public:
  void part(std::string_view text, bool last) override;
  void finish() override;
};

/// Characters of the byte alphabet to bytes, these to text; a token with any other character is
/// taken as it is.
class ByteLevelStage : public WholeTokenStage {
 public:
  void finish() override;

 protected:
  void token(std::string_view text) override;

 private:
  std::string bytes_;  // start of a character that may go on
};

/// Tokens <0x00> to <0xFF> in a row to text if their bytes are UTF-8, else to a U+FFFD each.
class ByteFallbackStage : public WholeTokenStage {
 public:
  void finish() override;

 protected:
  void token(std::string_view text) override;

 private:
  void put_bytes();
  std::string bytes_;
};

class ReplaceStage : public DecodeStage {
 public:
  ReplaceStage(std::shared_ptr<const Pattern> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void part(std::string_view text, bool last) override;

 private:
  std::shared_ptr<const Pattern> pattern_;
  std::string content_;
  std::string held_;  // may be the start of a match
};

/// Takes up to `start` and `stop` characters `content` from the ends of each token.
class StripStage : public DecodeStage {
 public:
  StripStage(std::string content, int64_t start, int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop), start_left_(start) {}
  void part(std::string_view text, bool last) override;

 private:
  std::string content_;
  int64_t start_, stop_;
  int64_t start_left_;  // characters still to take from the start of this token
  int64_t held_ = 0;    // characters `content` that may be the end of this token
};

/// Each symbol to a space, or to nothing in the first token if `prefix`.
class MetaspaceStage : public DecodeStage {
 public:
  MetaspaceStage(std::string symbol, bool prefix) : symbol_(std::move(symbol)), prefix_(prefix) {}
  void part(std::string_view text, bool last) override;

 private:
  std::string symbol_;
  bool prefix_;
  bool first_ = true;
};

/// Each suffix to a space, or to nothing in the last token.
class SuffixStage : public WholeTokenStage {
 public:
  explicit SuffixStage(std::string suffix) : suffix_(std::move(suffix)) {}
  void finish() override;

 protected:
  void token(std::string_view text) override;

 private:
  void put(std::string_view replacement);
  std::string suffix_;
  std::string held_;  // the last token so far
  bool any_ = false;
};

/// Tokens without their prefix, those that have none after a space; spaces before punctuation and
/// shortened words go if `cleanup`.
class WordPieceStage : public WholeTokenStage {
 public:
  WordPieceStage(std::string prefix, bool cleanup)
      : prefix_(std::move(prefix)), cleanup_(cleanup) {}

 protected:
  void token(std::string_view text) override;

 private:
  std::string prefix_;
  bool cleanup_;
  bool first_ = true;
};

class SentencePieceStage : public WholeTokenStage {
 public:
  explicit SentencePieceStage(std::shared_ptr<const SentencePieceDecoding> options)
      : options_(std::move(options)) {}
  void finish() override;

 protected:
  void token(std::string_view text) override;

 private:
  void put(std::string_view text);
  void put_bytes(bool all);
  std::shared_ptr<const SentencePieceDecoding> options_;
  std::string bytes_;     // of byte tokens, not yet a whole character
  bool at_start_ = true;  // there is no text yet
};

}  // namespace twofold
