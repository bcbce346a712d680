// `format % values`, Python's printf-style formatting.
#include <algorithm>
#include <cmath>

#include "text/jinja/characters.h"
#include "text/jinja/operators.h"

namespace twofold::jinja {
namespace {

struct Directive {
  bool left = false, zero = false, plus = false, space = false;
  int64_t width = 0, precision = -1;
  char kind = 's';
};

class Formatter {
 public:
  Formatter(Run& run, std::string_view format, const Value& values)
      : run_(run), format_(format), values_(values) {}

  std::string format() {
    std::string out;
    while (at_ < format_.size()) {
      if (format_[at_] != '%') {
        out += format_[at_++];
        continue;
      }
      ++at_;
      out += directive();
      run_.check_output(out.size());
    }
    const bool tuple = is_tuple();
    const size_t count = tuple ? values_.sequence()->items.size() : 1;
    if (!named_ && next_ < count && (tuple || values_.dict() == nullptr)) {
      run_.fail("%: expected {} values for the format, found {}", next_, count);
    }
    return out;
  }

 private:
  bool is_tuple() const {
    return values_.sequence() != nullptr && values_.sequence()->flavor == Flavor::kTuple;
  }
  char peek() const {
    if (at_ >= format_.size()) run_.fail("%: expected a letter at the end of the format");
    return format_[at_];
  }
  int64_t number() {
    int64_t value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = std::min<int64_t>(value * 10 + (format_[at_++] - '0'), 1 << 30);
    }
    return value;
  }

  Value value() {
    if (!is_tuple()) {
      if (next_++ > 0) run_.fail("%: expected more values, found one");
      return values_;
    }
    if (next_ >= values_.sequence()->items.size()) {
      run_.fail("%: expected more values, found {}", next_);
    }
    return values_.sequence()->items[next_++];
  }

  std::string directive() {
    std::optional<Value> named;
    if (peek() == '(') {
      const size_t end = format_.find(')', at_);
      if (end == std::string_view::npos) run_.fail("%: expected ')' after a name");
      named = subscript(run_, values_, Value(std::string(format_.substr(at_ + 1, end - at_ - 1))));
      if (values_.dict() == nullptr || named->is_undefined()) {
        run_.fail("%: expected a dict with '{}'", format_.substr(at_ + 1, end - at_ - 1));
      }
      named_ = true;
      at_ = end + 1;
    }
    Directive d;
    for (;; ++at_) {
      const char c = peek();
      if (c == '-') {
        d.left = true;
      } else if (c == '0') {
        d.zero = true;
      } else if (c == '+') {
        d.plus = true;
      } else if (c == ' ') {
        d.space = true;
      } else {
        break;
      }
    }
    d.width = number();
    if (peek() == '.') {
      ++at_;
      d.precision = number();
    }
    d.kind = peek();
    ++at_;
    if (d.kind == '%') return "%";
    return converted(d, named ? *named : value());
  }

  std::string converted(const Directive& d, const Value& value) {
    run_.take(static_cast<size_t>(std::max<int64_t>(d.width, d.precision)) + 1);
    switch (d.kind) {
      case 's':
      case 'r': {
        std::string text = d.kind == 's' ? to_text(run_, value) : to_repr(run_, value);
        if (d.precision >= 0) text.resize(byte_of_character(text, d.precision));
        return padded(d, "", text, false);
      }
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
        return integer(d, value);
      case 'f':
      case 'F':
      case 'e':
      case 'E':
      case 'g':
      case 'G':
        return real(d, value);
      default:
        run_.fail("%: expected one of s r d i u x X o f F e E g G, found '{}'", d.kind);
    }
  }

  std::string integer(const Directive& d, const Value& value) {
    const bool decimal = d.kind == 'd' || d.kind == 'i' || d.kind == 'u';
    if (!value.is_number() || (value.is_float() && !decimal)) {
      run_.fail("%{}: expected a number, found {}", d.kind, value.type_name());
    }
    if (value.is_float() && !(std::abs(value.as_float()) < 0x1p63)) {
      run_.fail("%{}: expected a number of 64 bits", d.kind);
    }
    const int64_t whole =
        value.is_float() ? static_cast<int64_t>(value.as_float()) : value.as_int();
    const uint64_t size =
        whole < 0 ? 0 - static_cast<uint64_t>(whole) : static_cast<uint64_t>(whole);
    std::string digits = d.kind == 'x'   ? fmt::format("{:x}", size)
                         : d.kind == 'X' ? fmt::format("{:X}", size)
                         : d.kind == 'o' ? fmt::format("{:o}", size)
                                         : fmt::format("{}", size);
    if (std::ssize(digits) < d.precision) {
      digits.insert(0, static_cast<size_t>(d.precision) - digits.size(), '0');
    }
    return padded(d, sign_of(d, whole < 0), digits, true);
  }

  std::string real(const Directive& d, const Value& value) {
    if (!value.is_number()) {
      run_.fail("%{}: expected a number, found {}", d.kind, value.type_name());
    }
    const double x = value.as_float();
    const double size = std::abs(x);
    const int precision =
        static_cast<int>(std::min<int64_t>(d.precision < 0 ? 6 : d.precision, 400));
    std::string digits;
    switch (d.kind) {
      case 'e':
        digits = fmt::format("{:.{}e}", size, precision);
        break;
      case 'E':
        digits = fmt::format("{:.{}E}", size, precision);
        break;
      case 'g':
        digits = fmt::format("{:.{}g}", size, precision);
        break;
      case 'G':
        digits = fmt::format("{:.{}G}", size, precision);
        break;
      default:
        digits = fmt::format("{:.{}f}", size, precision);
    }
    return padded(d, sign_of(d, std::signbit(x) && !std::isnan(x)), digits, std::isfinite(x));
  }

  static std::string_view sign_of(const Directive& d, bool negative) {
    return negative ? "-" : d.plus ? "+" : d.space ? " " : "";
  }

  std::string padded(const Directive& d, std::string_view sign, const std::string& text,
                     bool zeros) const {
    const int64_t used = count_characters(text) + std::ssize(sign);
    const std::string fill(static_cast<size_t>(std::max<int64_t>(0, d.width - used)),
                           d.zero && zeros && !d.left ? '0' : ' ');
    if (d.left) return std::string(sign) + text + fill;
    if (d.zero && zeros) return std::string(sign) + fill + text;
    return fill + std::string(sign) + text;
  }

  Run& run_;
  std::string_view format_;
  const Value& values_;
  size_t at_ = 0, next_ = 0;
  bool named_ = false;
};

}  // namespace

std::string printf_text(Run& run, std::string_view format, const Value& value) {
  run.scan(format.size());
  run.take(format.size());
  return Formatter(run, format, value).format();
}

}  // namespace twofold::jinja
