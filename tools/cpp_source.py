"""What the checks need to know about C++ text: comments and strings blanked out, functions with their lines."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPP_FOLDERS = ("src", "apps", "tests", "bench", "examples")

_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<delimiter>[^()\s\\]*)\(.*?\)(?P=delimiter)"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+'",
    re.DOTALL,
)


def source_files(*folders, suffixes=(".cpp", ".h")):
    """Files of the repository with these endings: tracked ones and new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *folders],
        cwd=ROOT, capture_output=True, check=False,
    )
    if listed.returncode == 0 and listed.stdout:
        names = listed.stdout.decode().split("\0")
    else:  # an unpacked archive has no git
        names = [str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*")]
    paths = (ROOT / name for name in sorted(set(names)) if name.endswith(suffixes))
    return [path for path in paths if path.is_file()]


def blank_comments_and_strings(text):
    """The same text, same line numbers, with comments removed and the inside of literals blanked."""

    def blank(match):
        token = match.group()
        kept = "" if token.startswith(("//", "/*")) else token[0] + token[-1]
        return kept + "\n" * token.count("\n")

    return _TOKEN.sub(blank, text)


def blank_comments(text):
    """The same text, same line numbers, with comments removed and literals kept."""
    return _TOKEN.sub(lambda match: "\n" * match.group().count("\n") if match.group().startswith(("//", "/*")) else match.group(), text)


def _is_function(head):
    """Whether the text between the last ';', '{' or '}' and this '{' opens the body of a function."""
    head = head.strip()
    if not head:
        return False
    if re.match(r"(?:inline\s+)?namespace\b|extern\b|(?:class|struct|union|enum)\b", head):
        return False
    if re.match(r"(?:template\s*<.*>\s*)?(?:class|struct|union|enum)\s+\w+[^()]*$", head, re.DOTALL):
        return False
    return ")" in head and not head.endswith("=")


def functions(text):
    """Yields (first line, last line, head) of every outermost function body, by counting braces."""
    clean = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: "\n" * m.group().count("\n"),
                   blank_comments_and_strings(text), flags=re.MULTILINE)
    stack, head_start, start_line, line = [], 0, 1, 1
    for position, character in enumerate(clean):
        if character == "\n":
            line += 1
        elif character == "{":
            inside = "function" in stack
            head = clean[head_start:position]
            if not inside and _is_function(head):
                start_line = line - head.lstrip().count("\n")
                stack.append("function")
                body_head = " ".join(head.split())
            else:
                stack.append("block")
            head_start = position + 1
        elif character == "}":
            if stack and stack.pop() == "function":
                yield start_line, line, body_head
            head_start = position + 1
        elif character == ";" :
            head_start = position + 1
