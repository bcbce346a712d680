#include "pipeline/name_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "base/error.h"

namespace twofold {
namespace {

constexpr uint32_t kMaxSteps = 100000;
constexpr uint32_t kMaxHeapKib = 4096;

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

std::string message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct NamePattern::Compiled {
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::unique_ptr<pcre2_match_context, FreeContext> limits;
};

NamePattern::NamePattern(std::string_view pattern)
    : pattern_(pattern), compiled_(std::make_unique<Compiled>()) {
  const std::string where = fmt::format("name pattern '{}'", pattern.substr(0, kMaxLength));
  if (pattern.size() > kMaxLength) {
    fail(ErrorCode::kInvalidArgument, where, "expected at most {} bytes, found {}", kMaxLength,
         pattern.size());
  }
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                      PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr));
  if (compiled_->code == nullptr) {
    fail(ErrorCode::kInvalidArgument, where, "at byte {}: {}", offset, message(error));
  }
  compiled_->limits.reset(pcre2_match_context_create(nullptr));
  if (compiled_->limits == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(compiled_->limits.get(), kMaxSteps);
  pcre2_set_heap_limit(compiled_->limits.get(), kMaxHeapKib);
}

NamePattern::~NamePattern() = default;
NamePattern::NamePattern(NamePattern&&) noexcept = default;
NamePattern& NamePattern::operator=(NamePattern&&) noexcept = default;

bool NamePattern::found_in(std::string_view name) const {
  // Whether it matches is all that is asked: one pair of offsets is room enough (a result of 0
  // means matched with more groups than room).
  const std::unique_ptr<pcre2_match_data, FreeMatch> match(pcre2_match_data_create(1, nullptr));
  if (match == nullptr) throw std::bad_alloc();
  const int result = pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(name.data()),
                                 name.size(), 0, 0, match.get(), compiled_->limits.get());
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0) {
    fail(ErrorCode::kInvalidArgument, fmt::format("name pattern '{}'", pattern_),
         "gives no answer on '{}': {}", name, message(result));
  }
  return true;
}

}  // namespace twofold
