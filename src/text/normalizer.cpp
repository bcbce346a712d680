#include "text/normalizer.h"

#include <utf8proc.h>

#include <array>
#include <cstdlib>
#include <new>
#include <optional>

#include "text/charsmap.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace twofold {
namespace {

using NormalizerPtr = std::unique_ptr<Normalizer>;

class Sequence : public Normalizer {
 public:
  explicit Sequence(const JsonNode& node) {
    node.expect_keys({"type", "normalizers"});
    for (const JsonNode& member : node.get_list("normalizers")) {
      if (member.is_null()) member.corrupt("expected an object, found null");
      members_.push_back(make_normalizer(member));
    }
  }
  bool apply(std::string& text) const override {
    bool same_start = true;
    const size_t most = (size_t{1} << 20) + 64 * text.size();
    for (const NormalizerPtr& member : members_) {
      if (!member->apply(text)) same_start = false;
      if (text.size() > most) {
        fail(ErrorCode::kUnsupported, "tokenizer", "the normalizer makes the text too long");
      }
    }
    return same_start;
  }
  bool is_byte_level() const override {
    for (const NormalizerPtr& member : members_) {
      if (member->is_byte_level()) return true;
    }
    return false;
  }

 private:
  std::vector<NormalizerPtr> members_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(const JsonNode& node) {
    node.expect_keys({"type", "prepend"});
    prefix_ = node.get_string("prepend");
  }
  bool apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, prefix_);
    return true;
  }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  explicit Replace(const JsonNode& node)
      : pattern_(node.child("pattern")), content_(node.get_string("content")) {
    node.expect_keys({"type", "pattern", "content"});
  }
  bool apply(std::string& text) const override {
    std::vector<TextSpan> matches;
    pattern_.find_all(text, matches);
    if (matches.empty()) return true;
    const bool same_start = matches[0].begin > 0 || matches[0].end == 0 || !content_.empty();
    text = replace_spans(text, matches, content_);
    return same_start;
  }

 private:
  Pattern pattern_;
  std::string content_;
};

/// The four normalization forms, by utf8proc.
class UnicodeForm : public Normalizer {
 public:
  UnicodeForm(const JsonNode& node, int options) : options_(options) { node.expect_keys({"type"}); }
  bool apply(std::string& text) const override {
    utf8proc_uint8_t* mapped = nullptr;
    const utf8proc_ssize_t bytes =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                     static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                     static_cast<utf8proc_option_t>(options_));
    const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(mapped, std::free);
    if (bytes == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
    if (bytes < 0) {
      fail(ErrorCode::kInvalidArgument, "text", "Unicode normalization: {}",
           utf8proc_errmsg(bytes));
    }
    text.assign(reinterpret_cast<const char*>(mapped), static_cast<size_t>(bytes));
    return true;
  }

 private:
  int options_;
};
template <int kOptions>
NormalizerPtr make_form(const JsonNode& node) {
  return std::make_unique<UnicodeForm>(node, kOptions | UTF8PROC_STABLE);
}

class Lowercase : public Normalizer {
 public:
  explicit Lowercase(const JsonNode& node) { node.expect_keys({"type"}); }
  bool apply(std::string& text) const override {
    std::string lower;
    lower.reserve(text.size());
    for (size_t at = 0; at < text.size(); at += character_bytes(text, at)) {
      const char32_t c = code_point(text, at);
      // The one character whose lower case is two (Unicode's SpecialCasing, unconditional).
      if (c == 0x130) {
        lower += "i\xCC\x87";
      } else {
        append_utf8(lower, static_cast<char32_t>(utf8proc_tolower(static_cast<int32_t>(c))));
      }
    }
    text = std::move(lower);
    return true;
  }
};

class StripSpace : public Normalizer {
 public:
  explicit StripSpace(const JsonNode& node)
      : left_(node.get_bool("strip_left")), right_(node.get_bool("strip_right")) {
    node.expect_keys({"type", "strip_left", "strip_right"});
  }
  bool apply(std::string& text) const override {
    const size_t leading = left_ ? leading_white_space(text) : 0;
    text.erase(0, leading);
    if (right_) text.resize(text.size() - trailing_white_space(text));
    return leading == 0;
  }

 private:
  bool left_, right_;
};

class StripAccents : public Normalizer {
 public:
  explicit StripAccents(const JsonNode& node) { node.expect_keys({"type"}); }
  bool apply(std::string& text) const override {
    const bool same_start = text.empty() || !is_mark(code_point(text, 0));
    std::string kept;
    kept.reserve(text.size());
    for (size_t at = 0; at < text.size(); at += character_bytes(text, at)) {
      if (!is_mark(code_point(text, at))) kept.append(text, at, character_bytes(text, at));
    }
    text = std::move(kept);
    return same_start;
  }

 private:
  static bool is_mark(char32_t c) {
    const auto category = utf8proc_category(static_cast<int32_t>(c));
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
           category == UTF8PROC_CATEGORY_ME;
  }
};

/// Takes control characters away and makes spaces of other white space and of what has no width, as
/// SentencePiece's "nmt" rules do.
class Nmt : public Normalizer {
 public:
  explicit Nmt(const JsonNode& node) { node.expect_keys({"type"}); }
  bool apply(std::string& text) const override {
    const bool same_start = text.empty() || !is_dropped(code_point(text, 0));
    std::string kept;
    kept.reserve(text.size());
    for (size_t at = 0; at < text.size(); at += character_bytes(text, at)) {
      const char32_t c = code_point(text, at);
      if (is_dropped(c)) continue;
      if (is_space(c)) {
        kept += ' ';
      } else {
        kept.append(text, at, character_bytes(text, at));
      }
    }
    text = std::move(kept);
    return same_start;
  }

 private:
  static bool is_dropped(char32_t c) {
    return (c >= 1 && c <= 8) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F ||
           c == 0x9F;
  }
  static bool is_space(char32_t c) {
    return c == 9 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
           (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
           c == 0xFEFF || c == 0xFFFD;
  }
};

/// The bytes that `text` stands for in base 64. @throws Error(kCorruptFile) naming the field.
std::string decode_base64(const JsonNode& node, std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0) node.corrupt("base 64 of a length that is no multiple of 4");
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::array<int8_t, 256> digit_of;
  digit_of.fill(-1);
  for (size_t i = 0; i < kDigits.size(); ++i) {
    digit_of[static_cast<unsigned char>(kDigits[i])] = static_cast<int8_t>(i);
  }
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  int count = 0;  // of bits that are no byte yet
  for (const char c : text) {
    const int digit = digit_of[static_cast<unsigned char>(c)];
    if (digit < 0) node.corrupt("expected base 64");
    bits = (bits << 6 | static_cast<uint32_t>(digit)) & 0xFFF;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xFF));
  }
  return bytes;
}

class Precompiled : public Normalizer {
 public:
  explicit Precompiled(const JsonNode& node) {
    node.expect_keys({"type", "precompiled_charsmap"});
    // SentencePiece's identity normalizer has no rules.
    if (!node.has("precompiled_charsmap") || node.get_string("precompiled_charsmap").empty()) {
      return;
    }
    const JsonNode rules = node.child("precompiled_charsmap");
    charsmap_.emplace(decode_base64(rules, rules.as_string()), node.where());
  }
  bool apply(std::string& text) const override {
    if (charsmap_) text = charsmap_->apply(text);
    return true;
  }

 private:
  std::optional<Charsmap> charsmap_;
};

class ByteCharacters : public Normalizer {
 public:
  explicit ByteCharacters(const JsonNode& node) { node.expect_keys({"type"}); }
  bool apply(std::string& text) const override {
    std::string characters;
    append_byte_characters(characters, text);
    text = std::move(characters);
    return true;
  }
  bool is_byte_level() const override { return true; }
};

template <class T>
NormalizerPtr make(const JsonNode& node) {
  return std::make_unique<T>(node);
}

constexpr JsonKind<Normalizer> kNormalizers[] = {
    {"Sequence", make<Sequence>},
    {"Prepend", make<Prepend>},
    {"Replace", make<Replace>},
    {"NFC", make_form<UTF8PROC_COMPOSE>},
    {"NFD", make_form<UTF8PROC_DECOMPOSE>},
    {"NFKC", make_form<UTF8PROC_COMPOSE | UTF8PROC_COMPAT>},
    {"NFKD", make_form<UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT>},
    {"Lowercase", make<Lowercase>},
    {"Strip", make<StripSpace>},
    {"StripAccents", make<StripAccents>},
    {"Nmt", make<Nmt>},
    {"Precompiled", make<Precompiled>},
    {"ByteLevel", make<ByteCharacters>},
};

}  // namespace

NormalizerPtr make_normalizer(const JsonNode& node) {
  return node.is_null() ? nullptr : make_kind(kNormalizers, node);
}

}  // namespace twofold
