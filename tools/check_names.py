#!/usr/bin/env python3
"""Checks that no code outside the registries branches on the name of a method, part, byte layout, family or protocol.

    python3 tools/check_names.py PROGRAM

The names are those that `PROGRAM help --markdown` lists. A comparison with such a name (== "rtn", "pot" !=, starts_with("r16-")) is allowed
only in the files that own the names. Prints one line per violation; exit status 1 if there are any.
"""

import re
import sys

from check_docs import names_after, reference_of
from cpp_source import ROOT, blank_comments, source_files

LISTS = ("Values of `--method`", "Values of `--grid`", "Values of `--transform`", "Values of `--rounding`", "Values of `--protocol`",
         "Families of models", "Families of byte layouts")
OWNERS = re.compile(r"src/(?:quant/(?:method|grid|rounding)\.cpp|quant/(?:grids|rounding)/|transform/|formats/|model/(?:family_\w+|registry)\.cpp"
                    r"|eval/protocol\.cpp)")
LAYOUT = r"(?:r16|r4|r8)-[\w-]*"  # byte layouts are named by their parts


def comparison_with(names):
    literal = r'"(?:%s)"' % "|".join([*map(re.escape, sorted(names)), LAYOUT])
    return re.compile(rf"[=!]=\s*{literal}|{literal}s?v?\s*[=!]=|\b(?:starts_with|ends_with|compare|contains)\(\s*{literal}")


def violations(name, text, comparison):
    if OWNERS.match(name):
        return
    text = blank_comments(text)
    for match in comparison.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield f"{name}:{line}: branches on a name that belongs to a registry: {match.group()}"


def main():
    printed = reference_of(sys.argv[1])
    names = {name for heading in LISTS for name in names_after(printed, heading)}
    comparison = comparison_with(names)
    found = []
    for path in source_files("src", "apps"):
        found += violations(str(path.relative_to(ROOT)), path.read_text(), comparison)
    print("\n".join(found) if found else f"no branch on any of {len(names)} names")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
