#!/usr/bin/env python3
"""Makes the goldens of chat templates from what the transformers library and its Jinja2 render.

    python3 tools/make_chat_goldens.py             # tests/data/chat-templates: goldens.json and expressions.json
    python3 tools/make_chat_goldens.py FOLDER      # FOLDER/goldens.json, of the templates *.jinja in FOLDER

Needs transformers and jinja2. Each row is a template, its variables, and the text, or that it is refused. The clock stands still.
"""

import datetime
import json
import sys
from pathlib import Path

import chat_expressions
from transformers.utils import chat_template_utils

HOME = Path(__file__).resolve().parent.parent / "tests" / "data" / "chat-templates"
NOW = datetime.datetime(2024, 7, 6, 15, 4, 5)

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Current weather of a city, \"now\" & <here>.",
    "parameters": {"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string", "description": "Name of the city, as in Zürich"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": ["integer", "null"], "description": "Days ahead"},
        "hours": {"type": "array", "items": {"type": "integer"}},
        "place": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}}}}},
    "return": {"type": "object"}}}
TIME = {"type": "function", "function": {"name": "get_time", "description": "The time",
                                         "parameters": {"type": "object", "properties": {}}}}


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def called(name, arguments, identity="abcDEF123"):
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


CONVERSATIONS = {
    "one question": {"messages": [said("user", "Hello!")], "add_generation_prompt": True},
    "one question, no prompt": {"messages": [said("user", "Hello!")], "add_generation_prompt": False},
    "system": {"messages": [said("system", "Be brief."), said("user", "Why?")], "add_generation_prompt": True},
    "several turns": {"messages": [said("system", "Be brief."), said("user", "Why?"), said("assistant", "Because."),
                                   said("user", "Really?"), said("assistant", "Yes."), said("user", "Thanks")],
                      "add_generation_prompt": True},
    "ends with an answer": {"messages": [said("user", "Why?"), said("assistant", "Because.")], "add_generation_prompt": False},
    "characters": {"messages": [said("system", "  spaces \n"), said("user", "naïve 日本語 🙂 <b>&amp;</b> \"q\" 'q' {{ x }} {% if %} \\n\t\n\n"),
                                said("assistant", "\n\n  ünï\u2028code  "), said("user", "<|im_end|></s>[INST] \u00a0")],
                   "add_generation_prompt": True},
    "empty contents": {"messages": [said("system", ""), said("user", ""), said("assistant", ""), said("user", "")],
                       "add_generation_prompt": True},
    "thoughts": {"messages": [said("user", "2+2?"), said("assistant", "<think>\nadd them\n</think>\n\n4"), said("user", "3+3?"),
                              said("assistant", "<think>again</think>6", reasoning_content="again"), said("user", "5+5?")],
                 "add_generation_prompt": True},
    "no thinking": {"messages": [said("user", "2+2?")], "add_generation_prompt": True, "enable_thinking": False, "thinking": False,
                    "reasoning_effort": "low"},
    "thinking asked": {"messages": [said("system", "/no_think Be kind."), said("user", "2+2?")], "add_generation_prompt": True,
                       "enable_thinking": True, "thinking": True, "reasoning_effort": "high", "date_string": "01 Jan 2025"},
    "tools": {"messages": [said("user", "Weather?")], "tools": [WEATHER, TIME], "add_generation_prompt": True},
    "tools and system": {"messages": [said("system", "Be brief."), said("user", "Weather?")], "tools": [WEATHER],
                         "add_generation_prompt": True},
    "a tool is called": {"messages": [said("user", "Weather?"),
                                      {"role": "assistant", "content": "", "tool_calls": [called("get_weather", {"city": "Zürich", "days": 2})]},
                                      said("tool", "{\"sky\": \"clear\"}", name="get_weather", tool_call_id="abcDEF123"),
                                      said("assistant", "It is clear."), said("user", "Thanks")],
                         "tools": [WEATHER, TIME], "add_generation_prompt": True},
    "two tools are called": {"messages": [said("user", "Weather and time?"),
                                          {"role": "assistant", "content": None, "tool_calls": [
                                              called("get_weather", {"city": "Bern", "unit": None, "wind": 1.5, "now": True}),
                                              called("get_time", {}, "time56789")]},
                                          said("tool", "12", name="get_weather", tool_call_id="abcDEF123"),
                                          said("tool", {"time": "noon"}, name="get_time", tool_call_id="time56789")],
                             "tools": [WEATHER, TIME], "add_generation_prompt": True},
    "arguments as text": {"messages": [said("user", "Weather?"),
                                       {"role": "assistant", "tool_calls": [called("get_weather", "{\"city\": \"Bern\"}")]},
                                       said("tool", "12", tool_call_id="abcDEF123")], "tools": [WEATHER], "add_generation_prompt": True},
    "contents in parts": {"messages": [said("user", [{"type": "text", "text": "Look: "}, {"type": "text", "text": "here."}])],
                          "add_generation_prompt": True},
    "documents": {"messages": [said("user", "Read.")], "documents": [{"title": "One", "text": "First."}, {"title": "Two", "text": "Second."}],
                  "add_generation_prompt": True},
    "the assistant begins": {"messages": [said("assistant", "Hello."), said("user", "Hi")], "add_generation_prompt": True},
    "two users in a row": {"messages": [said("user", "One"), said("user", "Two")], "add_generation_prompt": True},
    "unknown role": {"messages": [said("judge", "Order!"), said("user", "Yes")], "add_generation_prompt": True},
    "no content": {"messages": [{"role": "user"}], "add_generation_prompt": True},
    "no messages": {"messages": [], "add_generation_prompt": True},
    "no tokens": {"messages": [said("system", "Be brief."), said("user", "Why?")], "add_generation_prompt": True, "bos_token": None, "eos_token": None},
}


class StoppedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def render(template, variables):
    """The text, or None if it is refused."""
    try:
        text = chat_template_utils._compile_jinja_template(template).render(**variables)
    except Exception:  # what Jinja2 or the template raises, of any kind
        return None
    return None if " at 0x" in text else text  # an address: a function or a generator was printed


def write(path, rows):
    path.write_text("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")
    print(f"{path}: {len(rows)} rows, {sum(row['text'] is None for row in rows)} refused")


def variables_of(conversation):
    """All that the template sees; a token that is None is one that the model has not."""
    variables = {"bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None, **conversation}
    return {key: value for key, value in variables.items() if value is not None or not key.endswith("_token")}


def template_rows(folder):
    for path in sorted(folder.glob("*.jinja")):
        for name, conversation in CONVERSATIONS.items():
            yield {"template": path.name, "name": name, "text": render(path.read_text(), variables_of(conversation))}


def expression_rows():
    for source in chat_expressions.TEMPLATES + ["{{ " + e + " }}" for e in chat_expressions.EXPRESSIONS]:
        yield {"template": source, "text": render(source, chat_expressions.VARIABLES)}


def main():
    chat_template_utils.datetime = StoppedClock
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HOME
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "goldens.json", list(template_rows(folder)))
    if folder == HOME:
        conversations = {name: variables_of(conversation) for name, conversation in CONVERSATIONS.items()}
        (folder / "conversations.json").write_text(json.dumps(conversations, ensure_ascii=False, indent=1) + "\n")
        write(folder / "expressions.json", [{"variables": chat_expressions.VARIABLES, "text": ""}] + list(expression_rows()))


if __name__ == "__main__":
    main()
