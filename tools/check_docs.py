#!/usr/bin/env python3
"""Checks that the documents are there, hold together, and name what the program offers.

    python3 tools/check_docs.py [PROGRAM]

Links to files of the repository lead somewhere; NOTICE names every file of models/ and tests/data/text; with PROGRAM, docs/cli.md is
what `PROGRAM help --markdown` prints, and README.md names every method.
"""

import re
import subprocess
import sys

from cpp_source import ROOT, source_files

REQUIRED = [
    "LICENSE", "NOTICE", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "docs/architecture.md", "docs/formats.md",
    *(f"docs/adding-a-{kind}.md" for kind in ("grid", "transform", "format", "kernel", "family")),
]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def broken_links():
    for path in source_files(".", suffixes=(".md",)):
        text = re.sub(r"^( {4}|\t).*$", "", path.read_text(), flags=re.MULTILINE)
        for target in LINK.findall(text):
            if "://" not in target and not (path.parent / target).exists():
                yield f"{path.relative_to(ROOT)}: link to {target}, which is not there"


def missing_notices():
    notice = (ROOT / "NOTICE").read_text()
    for path in source_files("models", "tests/data/text", suffixes=("",)):
        if path.name not in notice:
            yield f"NOTICE: says nothing about {path.relative_to(ROOT)}"


def method_names(markdown):
    """Names in the first column of the table below the heading of methods."""
    section = re.split(r"^#+ .*[Mm]ethods.*$", markdown, maxsplit=1, flags=re.MULTILINE)[1]
    rows = re.search(r"(?:^\|.*\n)+", section, flags=re.MULTILINE).group().splitlines()[2:]
    return [row.strip("|").split("|")[0].strip(" `") for row in rows]


def undocumented(program):
    printed = subprocess.run([program, "help", "--markdown"], capture_output=True, text=True, check=True).stdout
    committed = ROOT / "docs/cli.md"
    if not committed.exists() or committed.read_text() != printed:
        yield "docs/cli.md: is not what the program prints; twofold help --markdown > docs/cli.md"
    readme = (ROOT / "README.md").read_text()
    names = method_names(printed)
    if not names:
        yield "help --markdown: no table of methods"
    for name in names:
        if f"`{name}`" not in readme:
            yield f"README.md: says nothing about method {name}"


def main():
    faults = [f"{name}: is not there" for name in REQUIRED if not (ROOT / name).is_file()]
    faults += [*broken_links(), *missing_notices()]
    if len(sys.argv) > 1:
        faults += undocumented(sys.argv[1])
    print("\n".join(faults) if faults else "documents in order")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
