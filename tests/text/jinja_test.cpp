// The template engine against what Jinja2 renders in the sandbox of the transformers library, and
// against everything that a template may try.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "base/rng.h"
#include "support/paths.h"
#include "text/jinja/template.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;

fs::path folder() { return testing::test_data("chat-templates"); }

OrderedJson read_json(const fs::path& path) { return OrderedJson::parse(testing::read_file(path)); }

/// The clock of the goldens.
jinja::RenderOptions stopped_clock() {
  return {.clock = [] { return jinja::LocalTime{2024, 7, 6, 15, 4, 5}; }};
}

/// The text, or none and the message.
std::optional<std::string> render(const std::string& source, const OrderedJson& variables,
                                  std::string& message,
                                  const jinja::RenderOptions& options = stopped_clock()) {
  try {
    return jinja::Template(source, "template").render(variables, options);
  } catch (const Error& error) {
    EXPECT_NE(error.code(), ErrorCode::kInternal) << error.what();
    message = error.what();
    return std::nullopt;
  }
}

void expect_row(const OrderedJson& row, const std::string& source, const OrderedJson& variables) {
  std::string message;
  const std::optional<std::string> text = render(source, variables, message);
  SCOPED_TRACE(row["template"].get<std::string>() +
               (row.contains("name") ? ", " + row["name"].get<std::string>() : std::string()));
  if (row["text"].is_null()) {
    EXPECT_FALSE(text.has_value()) << "rendered: " << text.value_or("");
    return;
  }
  ASSERT_TRUE(text.has_value()) << message;
  EXPECT_EQ(*text, row["text"].get<std::string>());
}

/// Renders all conversations with all templates of a folder that has goldens.
void expect_goldens(const fs::path& templates) {
  const OrderedJson conversations = read_json(folder() / "conversations.json");
  for (const OrderedJson& row : read_json(templates / "goldens.json")) {
    expect_row(row, testing::read_file(templates / row["template"].get<std::string>()),
               conversations[row["name"].get<std::string>()]);
  }
}

TEST(Jinja, RealTemplatesRenderAsTransformersDoes) { expect_goldens(folder()); }

TEST(Jinja, ExpressionsAndStatementsGiveWhatJinja2Gives) {
  const OrderedJson rows = read_json(folder() / "expressions.json");
  const OrderedJson& variables = rows[0]["variables"];
  for (size_t i = 1; i < rows.size(); ++i) {
    expect_row(rows[i], rows[i]["template"].get<std::string>(), variables);
  }
}

TEST(Jinja, OutsideTemplatesRenderAsTransformersDoes) {
  const auto found = testing::outside_data("chat-templates");
  if (!found) GTEST_SKIP() << "chat-templates is not in TWOFOLD_DATA";
  expect_goldens(*found);
}

/// The message of what must be refused.
std::string refusal(const std::string& source, const OrderedJson& variables = {},
                    const jinja::RenderOptions& options = {}) {
  std::string message;
  const auto text = render(source, variables, message, options);
  EXPECT_FALSE(text.has_value()) << source.substr(0, 80) << " gave " << text->substr(0, 80);
  return message;
}

std::string repeated(std::string_view text, size_t count) {
  std::string made;
  for (size_t i = 0; i < count; ++i) made += text;
  return made;
}

std::vector<std::string> nested_without_end() {
  return {
      "{{ " + repeated("(", 100'000),
      "{{ " + repeated("[", 100'000),
      "{{ " + repeated("{1:", 100'000),
      "{{ " + repeated("not ", 100'000) + "1 }}",
      "{{ " + repeated("-", 100'000) + "1 }}",
      "{{ a" + repeated(".b", 100'000) + " }}",
      "{{ a" + repeated("()", 100'000) + " }}",
      "{{ a" + repeated("[0]", 100'000) + " }}",
      "{{ a" + repeated("|upper", 100'000) + " }}",
      "{{ a" + repeated(" is none", 100'000) + " }}",
      "{{ 1" + repeated("+1", 100'000) + " }}",
      "{{ 1" + repeated(" if 1 else 1", 100'000) + " }}",
      "{{ 1" + repeated("**1", 100'000) + " }}",
      "{% filter " + repeated("upper|", 100'000) + "upper %}{% endfilter %}",
      repeated("{% if 1 %}", 100'000),
      repeated("{% for x in y %}", 100'000),
      repeated("{% macro f() %}", 100'000),
      "{% raw %}" + repeated("{% endraw", 100'000),
  };
}

TEST(Jinja, EveryAttackEndsInAnError) {
  std::vector<std::string> attacks = {
      "{{ 'x' * 1000000000 }}",
      "{{ 'ab' * 9223372036854775807 }}",
      "{{ [1] * 9223372036854775807 }}",
      "{{ [1, 2] * 1000000000 }}",
      "{{ (1,) * 100000000 }}",
      "{{ '%1000000000d' % 1 }}",
      "{{ '%99999999999999999999d' % 1 }}",
      "{{ 'x'.center(4611686018427387904, '\U0001F642') }}",
      "{{ 'x'.ljust(9223372036854775807) }}",
      "{{ 'x'.zfill(9223372036854775807) }}",
      "{{ 'x'|center(1000000000000) }}",
      "{{ 'a\nb'|indent(1000000000000) }}",
      "{{ [[1]]|tojson(indent=1000000000000) }}",
      "{{ range(9223372036854775807) }}",
      "{{ range(0, 1000000000, 3) }}",
      "{{ [1]|batch(1000000000000, 0)|list }}",
      "{{ [1]|slice(1000000000000)|list }}",
      "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
      "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
      "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
      "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
      "{% set n = namespace(s=[]) %}{% for i in range(9999) %}{% set n.s = [n.s] %}{% endfor %}",
      "{% set n = namespace(s=1) %}{% for i in range(9999) %}{% set n.s = {1: n.s} %}{% endfor %}",
      "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = [n.s, n.s] %}{% endfor %}"
      "{{ n.s }}",
      "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = [n.s, n.s] %}{% endfor %}"
      "{{ n.s|tojson }}",
      "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(99) %}{% set n.a = [n.a, n.a] %}"
      "{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }}",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% macro f(x) %}{% for y in x %}{{ f([x]) }}{% endfor %}{% endmacro %}{{ f([1]) }}",
      "{% macro f() %}{{ caller() }}{{ f() }}{% endmacro %}{% call f() %}{% endcall %}",
      "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
      "{% set n = namespace() %}{% set n.me = n %}{{ n }}",
      "{% set n = namespace() %}{% set n.me = [n, n] %}{{ n.me }}",
      "{% set a = 'a' * 9000000 %}{{ a.find('a' * 4000000 ~ 'b') }}",
      "{% set a = 'a' * 9000000 %}{{ a|replace('a', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa') }}",
      "{% set a = range(99999)|list %}{% for i in a %}{{ -1 in a }}{% endfor %}",
      "{% set a = range(99999)|list %}{{ a|unique|list }}",
      "{{ 9223372036854775807 + 1 }}",
      "{{ -9223372036854775807 - 2 }}",
      "{{ (-9223372036854775807 - 1) // -1 }}",
      "{{ (-9223372036854775807 - 1) % -1 }}",
      "{{ -(-9223372036854775807 - 1) }}",
      "{{ (-9223372036854775807 - 1)|abs }}",
      "{{ 9223372036854775807 * 2 }}",
      "{{ 10 ** 100 }}",
      "{{ 99999999999999999999 }}",
      "{{ 1e300|int }}",
      "{{ ''.__class__.__mro__ }}",
      "{{ cycler.__init__.__globals__ }}",
      "{{ (namespace(a=1))['__class__']['x'] }}",
      "{{ messages.append(1) }}",
      "{{ strftime_now('%Q') }}",
      "{{ strftime_now('%Y') }}",
  };
  for (std::string& nested : nested_without_end()) attacks.push_back(std::move(nested));
  const OrderedJson variables = {{"messages", {1}}, {"a", "a"}};
  for (const std::string& attack : attacks) {
    SCOPED_TRACE(attack.substr(0, 100));
    EXPECT_NE(refusal(attack, variables).find("template: line "), std::string::npos);
  }
}

TEST(Jinja, ManyNamespacesAndMacrosInARingAreFreed) {
  std::string message;
  const auto text = render(
      "{% set n = namespace(p=none) %}{% for i in range(9999) %}"
      "{% set n.p = namespace(p=[n.p]) %}{% endfor %}"
      "{% set q = namespace(m=none) %}{% for i in range(9999) %}{% set before = q.m %}"
      "{% macro m() %}{{ before }}{% endmacro %}{% set q.m = m %}{% endfor %}{{ q.m() }}"
      "{% set n.me = n %}{{ n == n.me }}",
      {}, message);
  EXPECT_EQ(text, "<Macro 'm'>True") << message;
}

TEST(Jinja, MessagesNameTemplateLineAndWhatWasExpected) {
  EXPECT_EQ(refusal("a\n\n{{ 1 + 'x' }}"),
            "template: line 3: expected operands that + takes, found int and str");
  EXPECT_EQ(refusal("{% if x %}\n"),
            "template: line 1: expected '{% endif %}', found end of template");
  EXPECT_EQ(refusal("\n{{ a.b }}"), "template: line 2: 'a' is undefined");
  EXPECT_EQ(refusal("{{ raise_exception('no\\nway') }}"),
            "template: line 1: the template refuses the conversation: no\nway");
  EXPECT_EQ(refusal("{% include 'x' %}"),
            "template: line 1: expected tags of one template, found 'include'");
  EXPECT_NE(refusal("{{ 1|nosuch }}").find("expected a filter of abs, "), std::string::npos);
}

TEST(Jinja, LimitsAreTheCallers) {
  const std::string source = "{% for i in range(100) %}0123456789{% endfor %}";
  std::string message;
  EXPECT_TRUE(render(source, {}, message).has_value());
  EXPECT_NE(refusal(source, {}, {.limits = {.steps = 100}}).find("100 steps"), std::string::npos);
  EXPECT_NE(refusal(source, {}, {.limits = {.bytes = 500}}).find("500 bytes"), std::string::npos);
  EXPECT_NE(refusal(source, {}, {.limits = {.output = 999}}).find("999 bytes"), std::string::npos);
  EXPECT_NE(refusal("{{ [[[[1]]]] }}", {}, {.limits = {.depth = 3}}).find("nesting up to 3"),
            std::string::npos);
}

/// Templates with what they are rendered with, small limits.
template <class Change>
void render_changed(const Change& change) {
  const OrderedJson conversations = read_json(folder() / "conversations.json");
  jinja::RenderOptions options = stopped_clock();
  options.limits.steps = 20'000;
  options.limits.bytes = 1 << 22;
  int64_t rendered = 0, refused = 0;
  for (const auto& entry : fs::directory_iterator(folder())) {
    if (entry.path().extension() != ".jinja") continue;
    change(testing::read_file(entry.path()), [&](const std::string& source) {
      std::string message;
      const bool ok = render(source, conversations["tools"], message, options).has_value();
      ++(ok ? rendered : refused);
    });
  }
  EXPECT_GT(rendered, 0);
  EXPECT_GT(refused, 0);
}

TEST(Jinja, EveryPrefixOfATemplateGivesATextOrAnError) {
  render_changed([](const std::string& source, const auto& try_one) {
    const size_t step = source.size() < 3000 ? 1 : 11;
    for (size_t n = 0; n < source.size(); n += step) try_one(source.substr(0, n));
  });
}

TEST(Jinja, DamagedTemplatesGiveATextOrAnError) {
  Rng rng(20261122);
  const auto below = [&](size_t n) {
    return static_cast<size_t>(rng.below(std::max<size_t>(1, n)));
  };
  constexpr std::string_view kPieces[] = {"{%", "%}", "{{", "}}", "(",  ")",    "[",   "]",  "'",
                                          "|",  ".",  "-",  "if", "in", "not",  "for", ":",  ",",
                                          "=",  "1",  "x",  "{#", "\\", "\xFF", "é",   "\n", "is"};
  render_changed([&](const std::string& source, const auto& try_one) {
    for (int i = 0; i < 150; ++i) {
      std::string damaged = source;
      for (size_t changes = 1 + below(3); changes > 0; --changes) {
        const size_t at = below(damaged.size());
        switch (below(3)) {
          case 0:
            damaged.erase(at, 1 + below(12));
            break;
          case 1:
            damaged.insert(at, kPieces[below(std::size(kPieces))]);
            break;
          default:
            damaged.insert(at, damaged.substr(below(damaged.size()), below(60)));
        }
      }
      try_one(damaged);
    }
  });
}

TEST(Jinja, WholeNumbersBeyond64BitsAreRefused) {
  for (const char* expression :
       {"9223372036854775807|round(-1)", "9223372036854775807|round(-19)",
        "(-9223372036854775807 - 1)|round(-3)", "(-9223372036854775807 - 1)|abs",
        "-(-9223372036854775807 - 1)", "(-9223372036854775807 - 1) // -1",
        "range(0, 9223372036854775807, 9223372036854775806)[::2]"}) {
    EXPECT_NE(refusal(std::string("{{ ") + expression + " }}").find("64 bits"), std::string::npos)
        << expression;
  }
  refusal("{{ 1|round(-9223372036854775807 - 1, 'ceil') }}");
  std::string message;
  EXPECT_EQ(
      render("{{ 1|round(-9223372036854775807 - 1) }} {{ 2.5|round(-9223372036854775807 - 1) }}",
             OrderedJson::object(), message, {}),
      "0 0.0");
}

}  // namespace
}  // namespace twofold
