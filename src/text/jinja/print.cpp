// str, repr and json.dumps.
#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/operators.h"
#include "text/unicode.h"

namespace twofold::jinja {
namespace {

/// str.isprintable of one character.
bool is_printable(char32_t c) {
  if (c == U' ') return true;
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return !(category >= UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_CN);
}

class Printer {
 public:
  Printer(Run& run, std::string& out) : run_(run), out_(out) {}

  void print(const Value& value) {
    const Run::Deeper deeper(run_);
    run_.step();
    if (value.is_text()) {
      run_.take(value.as_text().size());
      out_ += quoted_text(value.as_text());
    } else if (const Dict* d = value.dict()) {
      out_ += '{';
      for (size_t i = 0; i < d->entries.size(); ++i) {
        if (i > 0) out_ += ", ";
        print(d->entries[i].first);
        out_ += ": ";
        print(d->entries[i].second);
      }
      out_ += '}';
    } else if (const Sequence* s = value.sequence()) {
      sequence(*s);
    } else if (value.is_undefined()) {
      out_ += "Undefined";
    } else {
      out_ += to_text(run_, value);
    }
    run_.check_output(out_.size());
  }

 private:
  void sequence(const Sequence& s) {
    switch (s.flavor) {
      case Flavor::kList:
        return items(s, "[", "]");
      case Flavor::kTuple:
        return items(s, "(", s.items.size() == 1 ? ",)" : ")");
      case Flavor::kKeys:
        return items(s, "dict_keys([", "])");
      case Flavor::kValues:
        return items(s, "dict_values([", "])");
      case Flavor::kItems:
        return items(s, "dict_items([", "])");
      case Flavor::kRange:
        return range(s);
      case Flavor::kGenerator:
        run_.fail("expected a value to print, found the items of a filter; use |list or |join");
    }
  }
  void items(const Sequence& s, std::string_view open, std::string_view close) {
    out_ += open;
    for (size_t i = 0; i < s.items.size(); ++i) {
      if (i > 0) out_ += ", ";
      print(s.items[i]);
    }
    out_ += close;
  }
  void range(const Sequence& s) {
    const auto& [first, end, step] = s.bounds;
    out_ += step == 1 ? fmt::format("range({}, {})", first, end)
                      : fmt::format("range({}, {}, {})", first, end, step);
  }

  Run& run_;
  std::string& out_;
};

class JsonPrinter {
 public:
  JsonPrinter(Run& run, const JsonLayout& layout, std::string& out)
      : run_(run), layout_(layout), out_(out) {}

  void print(const Value& value, int level) {
    const Run::Deeper deeper(run_);
    run_.step();
    if (value.is_text()) {
      text(value.as_text());
    } else if (const Dict* d = value.dict()) {
      dict(*d, level);
    } else if (const Sequence* s = value.sequence();
               s != nullptr && (s->flavor == Flavor::kList || s->flavor == Flavor::kTuple)) {
      bracket('[', ']', s->items.size(), level, [&](size_t i) { print(s->items[i], level + 1); });
    } else {
      out_ += scalar(value);
    }
    run_.check_output(out_.size());
  }

 private:
  std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (value.is_bool()) return value.as_bool() ? "true" : "false";
    if (value.is_int()) return fmt::format("{}", value.as_int());
    if (!value.is_float()) {
      run_.fail("tojson: expected what JSON can hold, found {}", value.type_name());
    }
    const double x = value.as_float();
    if (std::isnan(x)) return "NaN";
    if (std::isinf(x)) return x > 0 ? "Infinity" : "-Infinity";
    return float_text(x);
  }

  template <class Each>
  void bracket(char open, char close, size_t count, int level, const Each& each) {
    out_ += open;
    for (size_t i = 0; i < count; ++i) {
      if (i > 0) out_ += layout_.item_separator;
      new_line(level + 1);
      each(i);
    }
    if (count > 0) new_line(level);
    out_ += close;
  }

  void new_line(int level) {
    if (!layout_.indent) return;
    run_.take(layout_.indent->size() * static_cast<size_t>(level));
    out_ += '\n';
    for (int i = 0; i < level; ++i) out_ += *layout_.indent;
  }

  void dict(const Dict& d, int level) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : d.entries) entries.push_back(&entry);
    if (layout_.sort_keys) {
      std::ranges::stable_sort(entries, [&](const auto* a, const auto* b) {
        return order(run_, a->first, b->first, "<").value_or(0) < 0;
      });
    }
    bracket('{', '}', entries.size(), level, [&](size_t i) {
      const Value& key = entries[i]->first;
      text(key.is_text() ? key.as_text() : scalar(key));
      out_ += layout_.key_separator;
      print(entries[i]->second, level + 1);
    });
  }

  void text(std::string_view text) {
    run_.take(text.size());
    out_ += '"';
    for (size_t at = 0; at < text.size();) {
      const size_t size = character_bytes(text, at);
      character(code_point(text, at), text.substr(at, size));
      at += size;
    }
    out_ += '"';
  }

  void character(char32_t c, std::string_view bytes) {
    constexpr std::string_view kSpecial = "\"\\\n\r\t\b\f", kLetters = "\"\\nrtbf";
    if (const size_t i = kSpecial.find(bytes); i != std::string_view::npos) {
      out_ += '\\';
      out_ += kLetters[i];
    } else if (c < 0x20 || (layout_.ensure_ascii && c >= 0x7F && c < 0x10000)) {
      out_ += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else if (layout_.ensure_ascii && c >= 0x10000) {
      const uint32_t rest = static_cast<uint32_t>(c) - 0x10000;
      out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
    } else {
      out_ += bytes;
    }
  }

  Run& run_;
  const JsonLayout& layout_;
  std::string& out_;
};

}  // namespace

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  // Shortest digits that read back as the same number, in scientific form: d.ddde+xx.
  const auto [end, error] =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  const std::string sign = text.starts_with('-') ? "-" : "";
  const std::string_view power = text.substr(e + 1);
  int exponent = 0;
  std::from_chars(power.data() + 1, power.data() + power.size(), exponent);
  if (power.starts_with('-')) exponent = -exponent;
  if (exponent < -4 || exponent >= 16) {
    std::string mantissa = digits.substr(0, 1);
    if (digits.size() > 1) mantissa.append(1, '.').append(digits, 1);
    return fmt::format("{}{}e{}{:02}", sign, mantissa, exponent < 0 ? '-' : '+',
                       std::abs(exponent));
  }
  if (exponent < 0) return fmt::format("{}0.{:0>{}}{}", sign, "", -exponent - 1, digits);
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string quoted_text(std::string_view text) {
  const bool single =
      text.find('\'') == std::string_view::npos || text.find('"') != std::string_view::npos;
  const char quote = single ? '\'' : '"';
  std::string made(1, quote);
  for (size_t at = 0; at < text.size();) {
    const size_t size = character_bytes(text, at);
    const char32_t c = code_point(text, at);
    const auto number = static_cast<uint32_t>(c);
    if (c == static_cast<char32_t>(quote) || c == U'\\') {
      made += '\\';
      made += text[at];
    } else if (c == U'\n') {
      made += "\\n";
    } else if (c == U'\r') {
      made += "\\r";
    } else if (c == U'\t') {
      made += "\\t";
    } else if (is_printable(c)) {
      made += text.substr(at, size);
    } else {
      made += c < 0x100     ? fmt::format("\\x{:02x}", number)
              : c < 0x10000 ? fmt::format("\\u{:04x}", number)
                            : fmt::format("\\U{:08x}", number);
    }
    at += size;
  }
  return made + quote;
}

std::string to_text(Run& run, const Value& value) {
  if (value.is_text()) return value.as_text();
  if (value.is_undefined()) return {};
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.as_bool() ? "True" : "False";
  if (value.is_int()) return fmt::format("{}", value.as_int());
  if (value.is_float()) return float_text(value.as_float());
  if (Object* o = value.object()) {
    const Run::Deeper deeper(run);
    run.step();
    return o->repr(run);
  }
  return to_repr(run, value);
}

std::string to_repr(Run& run, const Value& value) {
  std::string out;
  Printer(run, out).print(value);
  run.take(out.size());
  return out;
}

std::string to_json(Run& run, const Value& value, const JsonLayout& layout) {
  std::string out;
  JsonPrinter(run, layout, out).print(value, 0);
  run.take(out.size());
  return out;
}

}  // namespace twofold::jinja
