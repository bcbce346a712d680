#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <new>

#include "text/unicode.h"

namespace twofold {
namespace {

// Contents of bracket classes. White space without PCRE2's U+180E, which lost that property.
constexpr std::string_view kSpace =
    R"(\t-\r\x20\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x00-\x08\x0E-\x1F\x21-\x{84}\x{86}-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027})"
    R"(\x{202A}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{D7FF}\x{E000}-\x{10FFFF})";
// Letters and letter-like symbols (the last ranges), marks, digits, connectors; Oniguruma adds the
// superscript digits and fractions of Latin-1, and leaves out the joiners.
constexpr std::string_view kWord =
    R"(\p{L}\p{Nl}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE}\x{24B6}-\x{24E9})"
    R"(\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";
constexpr std::string_view kHex = "0-9a-fA-F";

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view where) : pattern_(pattern), where_(where) {}

  std::string translate() {
    while (at_ < pattern_.size()) {
      if (pattern_[at_] == '\\') {
        escape();
      } else if (in_class_) {
        class_character();
      } else if (pattern_[at_] == '[') {
        open_class();
      } else if (pattern_.substr(at_, 2) == "(?") {
        group();
      } else if (pattern_[at_] == '{') {
        interval();
      } else {
        copy(1);
      }
    }
    return result_;
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail(ErrorCode::kUnsupported, where_, "regular expression '{}': {} at byte {}", pattern_, what,
         at_);
  }
  void copy(size_t bytes) {
    bytes = std::min(bytes, pattern_.size() - at_);
    result_.append(pattern_.substr(at_, bytes));
    at_ += bytes;
  }

  void escape() {
    const char letter = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    // One of the two is empty: what a class holds, or what its complement holds.
    const auto put = [&](std::string_view in_class, std::string_view complement) {
      if (in_class.empty() && in_class_) refuse(fmt::format("\\{} in a class", letter));
      if (in_class_) {
        result_ += in_class;
      } else {
        result_ += in_class.empty() ? "[^" : "[";
        result_.append(in_class).append(complement) += ']';
      }
      at_ += 2;
    };
    switch (letter) {
      case 's':
        return put(kSpace, {});
      case 'S':
        return put(kNotSpace, {});
      case 'w':
        return put(kWord, {});
      case 'W':
        return put({}, kWord);
      case 'h':
        return put(kHex, {});
      case 'H':
        return put({}, kHex);
      case 'b':
      case 'B':
        return boundary(letter == 'b');
      default:
        if (std::string_view("yYKgkRXONCQEcMuULl").find(letter) != std::string_view::npos) {
          refuse(fmt::format("\\{} is not supported", letter));
        }
        copy(2);  // includes \p{...}, \n, \r, \t, \d, \A, \z, \Z, escaped punctuation
    }
  }

  void boundary(bool is_boundary) {
    if (in_class_) refuse("\\b in a class");
    const std::string word = "[" + std::string(kWord) + "]";
    const std::string apart =
        "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))";
    result_ += is_boundary ? apart : "(?!" + apart + ")";
    at_ += 2;
  }

  void open_class() {
    in_class_ = true;
    copy(1);
    if (at_ < pattern_.size() && pattern_[at_] == '^') copy(1);
    if (at_ < pattern_.size() && pattern_[at_] == ']') refuse("']' first in a class");
  }

  void class_character() {
    if (pattern_.substr(at_, 2) == "&&") refuse("class intersection");
    if (pattern_.substr(at_, 2) == "[:") {
      const size_t end = pattern_.find(":]", at_);
      if (end == std::string_view::npos) refuse("class within a class");
      return copy(end + 2 - at_);
    }
    if (pattern_[at_] == '[') return open_inner_class();
    if (pattern_[at_] == ']' && inner_classes_ > 0) return close_inner_class();
    in_class_ = pattern_[at_] != ']';
    copy(1);
  }

  // What a class within a class holds, the outer one holds: its brackets go. At them a hyphen would
  // come to stand between two characters.
  void open_inner_class() {
    const char next = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    if (next == '^' || next == '-' || next == ']' || result_.back() == '-') {
      refuse("this kind of class within a class");
    }
    ++inner_classes_;
    ++at_;
  }
  void close_inner_class() {
    const char next = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    if (next == '-' || result_.back() == '-') refuse("this kind of class within a class");
    --inner_classes_;
    ++at_;
  }

  // Ruby's {n,m}+ repeats, PCRE2's does not give back.
  void interval() {
    const size_t end = pattern_.find_first_not_of("0123456789,", at_ + 1);
    if (end > at_ + 1 && end != std::string_view::npos && pattern_.substr(end, 2) == "}+") {
      refuse("'+' after an interval");
    }
    copy(1);
  }

  // (?:  (?=  (?!  (?>  (?<=  (?<!  and the flags i and x mean the same in both.
  void group() {
    size_t end = at_ + 2;
    while (end < pattern_.size() &&
           (pattern_[end] == 'i' || pattern_[end] == 'x' || pattern_[end] == '-')) {
      ++end;
    }
    const std::string_view rest = pattern_.substr(end);
    const bool flags = end > at_ + 2;
    const char next = rest.empty() ? '\0' : rest[0];
    const bool known = flags ? next == ':' || next == ')'
                             : next == ':' || next == '=' || next == '!' || next == '>' ||
                                   rest.substr(0, 2) == "<=" || rest.substr(0, 2) == "<!";
    if (!known) refuse("this kind of group is not supported");
    copy(end - at_);
  }

  std::string_view pattern_;
  std::string_view where_;
  std::string result_;
  size_t at_ = 0;
  bool in_class_ = false;
  int inner_classes_ = 0;
};

struct MatchDeleter {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

}  // namespace

void Regex::Deleter::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

Regex::Regex(std::string_view pattern, std::string_view where) : where_(where), pattern_(pattern) {
  const std::string translated = Translator(pattern, where).translate();
  int error = 0;
  PCRE2_SIZE offset = 0;
  // In Ruby's syntax ^ and $ are those of a line.
  const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                            options, &error, &offset, nullptr));
  if (!code_) {
    std::array<PCRE2_UCHAR, 256> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    fail(ErrorCode::kUnsupported, where, "regular expression '{}': {}", pattern,
         reinterpret_cast<const char*>(message.data()));
  }
  pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // without it matching is only slower
}

void Regex::find_all(std::string_view text, std::vector<TextSpan>& matches) const {
  const std::unique_ptr<pcre2_match_data, MatchDeleter> data(
      pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  const std::unique_ptr<pcre2_match_context, MatchDeleter> context(
      pcre2_match_context_create(nullptr));
  if (!data || !context) throw std::bad_alloc();
  // Going back over a long run of characters, once or twice, is no fault of a pattern.
  const size_t limit = kMatchLimit + kMatchLimitPerByte * text.size();
  pcre2_set_match_limit(context.get(), static_cast<uint32_t>(std::min<size_t>(limit, UINT32_MAX)));
  pcre2_set_heap_limit(context.get(), 64 * 1024);  // KiB
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const auto match = [&](size_t from, uint32_t options) {
    return pcre2_match(code_.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK | options,
                       data.get(), context.get());
  };
  size_t from = 0;
  bool any = false;
  while (from <= text.size()) {
    int result = match(from, 0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(from, PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH) return;
    if (result < 0) {
      fail(ErrorCode::kUnsupported, where_,
           "regular expression '{}': gave up matching at byte {} (PCRE2 error {})", pattern_, from,
           result);
    }
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(data.get());
    // An empty match right after the last one is not another match.
    if (span[0] == span[1] && any && matches.back().end == span[1]) {
      if (from == text.size()) return;
      from = span[1] + (span[1] < text.size() ? character_bytes(text, span[1]) : 1);
      continue;
    }
    matches.push_back({span[0], span[1]});
    any = true;
    from = span[1];
  }
}

Pattern::Pattern(const JsonNode& node) {
  node.expect_keys({"String", "Regex"});
  if (node.value().size() != 1) node.corrupt("expected either String or Regex");
  if (node.has("String")) {
    literal_ = node.get_string("String");
  } else {
    regex_ = std::make_unique<Regex>(node.get_string("Regex"), node.where() + ": " + node.path());
  }
}

void Pattern::find_all(std::string_view text, std::vector<TextSpan>& matches) const {
  if (regex_) return regex_->find_all(text, matches);
  if (literal_.empty()) return;
  for (size_t at = text.find(literal_); at != std::string_view::npos;
       at = text.find(literal_, at + literal_.size())) {
    matches.push_back({at, at + literal_.size()});
  }
}

std::string Pattern::replace_all(std::string_view text, std::string_view content) const {
  std::vector<TextSpan> matches;
  find_all(text, matches);
  return replace_spans(text, matches, content);
}

std::string replace_spans(std::string_view text, const std::vector<TextSpan>& spans,
                          std::string_view content) {
  // A file must not be able to ask for more memory than a text of this size is worth.
  if (content.size() > 64 && spans.size() > (size_t{1} << 20) / content.size() + text.size() / 16) {
    fail(ErrorCode::kUnsupported, "tokenizer",
         "replacing {} matches by {} bytes each makes the text too long", spans.size(),
         content.size());
  }
  std::string result;
  result.reserve(text.size());
  size_t done = 0;
  for (const TextSpan& span : spans) {
    result.append(text.substr(done, span.begin - done)).append(content);
    done = span.end;
  }
  return result.append(text.substr(done));
}

}  // namespace twofold
