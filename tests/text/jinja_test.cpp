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

}  // namespace
}  // namespace twofold
