// Chat templates as files of models hold them, their tokens, and the token that ends an answer.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "text/tokenizer_files.h"

namespace twofold {
namespace {

using namespace testing;  // NOLINT: the helpers of the test data

constexpr const char* kTurns =
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

OrderedJson conversation() {
  return {chat_message("user", "Hi"), chat_message("assistant", "Hello"),
          chat_message("user", "Bye")};
}

TEST(ChatTemplate, RendersMessagesWithTheModelsTokens) {
  const ChatTemplate chat({kTurns, "t", {{"bos_token", "<s>"}, {"eos_token", "</s>"}}});
  EXPECT_EQ(chat.render(conversation()),
            "<s><|user|>Hi</s>\n<|assistant|>Hello</s>\n<|user|>Bye</s>\n<|assistant|>");
  EXPECT_EQ(chat.render(OrderedJson::array({chat_message("user", "Hi")}),
                        {.add_generation_prompt = false}),
            "<s><|user|>Hi</s>\n");
}

TEST(ChatTemplate, ArgumentsComeBeforeTokensAndMayBeAnything) {
  const ChatTemplate chat(
      {"{{ eos_token }} {{ x.y[1] }} {{ tools is none }}", "t", {{"eos_token", "</s>"}}});
  EXPECT_EQ(
      chat.render(conversation(), {.arguments = {{"x", {{"y", {1, 2}}}}, {"eos_token", "!"}}}),
      "! 2 True");
}

TEST(ChatTemplate, ContentThatIsNotUtf8IsReplaced) {
  const ChatTemplate chat({"{{ messages[0].content }}", "t", {}});
  EXPECT_EQ(chat.render(OrderedJson::array({chat_message("user", "a\xFFz")})), "a\xEF\xBF\xBDz");
}

TEST(ChatTemplate, JsonHoldsATemplateOrAListWithADefault) {
  EXPECT_EQ(chat_template_of_json(R"({"chat_template": "x"})", "f"), "x");
  EXPECT_EQ(chat_template_of_json(R"({"chat_template": [{"name": "rag", "template": "r"},
                                      {"name": "default", "template": "d"}]})",
                                  "f"),
            "d");
  EXPECT_EQ(chat_template_of_json(R"({"chat_template": null})", "f"), std::nullopt);
  EXPECT_EQ(chat_template_of_json("{}", "f"), std::nullopt);
  EXPECT_EQ(chat_template_of_json("", "f"), std::nullopt);
}

TEST(ChatTemplate, OtherJsonIsRefusedByNameOfTheFile) {
  for (const char* json :
       {R"({"chat_template": 5})", R"({"chat_template": {}})",
        R"({"chat_template": [{"name": "rag", "template": "r"}]})", R"({"chat_template": [5]})",
        R"({"chat_template": [{"name": "default"}]})", "{"}) {
    try {
      chat_template_of_json(json, "a-file");
      ADD_FAILURE() << json;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruptFile) << error.what();
      EXPECT_NE(std::string(error.what()).find("a-file"), std::string::npos) << error.what();
    }
  }
}

TEST(ChatTemplate, TokensAreTextsOrObjectsWithContent) {
  const TokenNames names = token_names_of_json(
      R"({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false},
          "pad_token": null, "model_max_length": 5})",
      "f");
  EXPECT_EQ(names, (TokenNames{{"bos_token", "<s>"}, {"eos_token", "</s>"}}));
  EXPECT_THROW(token_names_of_json(R"({"bos_token": 1})", "f"), Error);
}

TEST(ChatTemplate, SpecialTokensAreParsedAndNothingIsAdded) {
  const auto tokenizer = babyllama();
  ASSERT_TRUE(tokenizer->adds_bos());
  const ChatTemplate with({kTurns, "t", {{"bos_token", "<s>"}, {"eos_token", "</s>"}}});
  const std::vector<int32_t> ids = with.encode(conversation(), *tokenizer);
  EXPECT_EQ(ids.front(), tokenizer->bos_id());
  EXPECT_EQ(std::ranges::count(ids, tokenizer->bos_id()), 1);
  EXPECT_EQ(std::ranges::count(ids, tokenizer->eos_id()), 3);
  const ChatTemplate without({"{{ messages[0].content }}", "t", {}});
  EXPECT_EQ(std::ranges::count(without.encode(conversation(), *tokenizer), tokenizer->bos_id()), 0);
}

TEST(ChatTemplate, EndTokenIsTheSpecialOneAfterAnAnswer) {
  const Tokenizer& tokenizer = gpt2();
  const int32_t end = tokenizer.token_id("<|endoftext|>");
  const auto end_of = [&](std::string source) {
    return ChatTemplate({std::move(source), "t", {{"eos_token", "<|endoftext|>"}}})
        .end_token(tokenizer);
  };
  EXPECT_EQ(end_of(kTurns), end);
  EXPECT_EQ(end_of("{% for m in messages %}{{ m.content }} \n{{ eos_token }}{% endfor %}"), end);
  EXPECT_EQ(end_of("{% for m in messages %}{{ m.content }} end{{ eos_token }}{% endfor %}"), -1);
  EXPECT_EQ(end_of("{% for m in messages %}{{ m.content }}\n{% endfor %}"), -1);
  EXPECT_EQ(end_of("{{ raise_exception('never') }}"), -1);
  EXPECT_EQ(end_of("constant"), -1);
}

TEST(ChatTemplate, AnAddedTokenEndsAnAnswerThoughItIsNotSpecial) {
  Json json = Json::parse(read_file(test_data("tokenizers/gpt2/tokenizer.json")));
  const auto add = [&](const char* content) {
    Json token = json["added_tokens"].back();
    token["id"] = token["id"].get<int64_t>() + 1;
    token["content"] = content;
    token["special"] = false;
    json["added_tokens"].push_back(token);
    return token["id"].get<int32_t>();
  };
  const int32_t blank = add("\n\n"), end = add("<|im_end|>");
  const auto tokenizer = make_tokenizer_from_json(json.dump(), "", "t");
  EXPECT_FALSE(tokenizer->is_special(end));
  EXPECT_TRUE(tokenizer->is_added(end) && tokenizer->is_added(blank));
  EXPECT_FALSE(tokenizer->is_added(tokenizer->token_id("A")));
  const auto end_of = [&](std::string source) {
    return ChatTemplate({std::move(source), "t", {}}).end_token(*tokenizer);
  };
  EXPECT_EQ(end_of("{% for m in messages %}{{ m.content }}<|im_end|>\n{% endfor %}"), end);
  EXPECT_EQ(end_of("{% for m in messages %}{{ m.content }}{{ '\n\n' }}<|im_end|>{% endfor %}"),
            end);
  EXPECT_EQ(end_of("{% for m in messages %}{{ m.content }}{{ '\n\n' }}{% endfor %}"), -1);
}

}  // namespace
}  // namespace twofold
