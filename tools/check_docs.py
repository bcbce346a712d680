#!/usr/bin/env python3
"""Checks that the documents are there, hold together, and name what the program offers.

    python3 tools/check_docs.py [PROGRAM]

Links to files of the repository lead somewhere; NOTICE says by path where every file of models/, data/ and tests/data comes from and under which
licence; with PROGRAM, every method, grid and byte layout that its reference lists has its place in the other pages.
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


def others_files():
    """What may come from elsewhere, as paths from the root."""
    names = (str(path.relative_to(ROOT)) for path in source_files("models", "data", "tests/data", suffixes=("",)))
    return [name for name in names if not name.startswith("models/downloads/")]


def notice_sections(notice):
    """Prefix (a folder or a file, on a line of its own) -> (names listed below it, its text)."""
    sections, prefix = {}, None
    for line in notice.splitlines():
        if re.fullmatch(r"[\w.-]+(?:/[\w.-]+)*/", line):
            prefix = line
            sections[prefix] = (set(), [])
        elif line and not line.startswith(" "):
            prefix = None
        elif prefix and re.match(r" {4}\S", line):
            sections[prefix][0].update(name for name in re.split(r",\s*", line.strip()) if name)
        elif prefix:
            sections[prefix][1].append(line.strip())
    return {prefix: (names, "\n".join(text)) for prefix, (names, text) in sections.items()}


def missing_notices(notice, paths):
    """Files that no folder of NOTICE covers: one that lists names covers those, one that lists none all below it."""
    sections = notice_sections(notice)
    covered = set()
    for path in paths:
        prefixes = [prefix for prefix in sections if path.startswith(prefix)]
        prefix = max(prefixes, key=len, default="")
        names = sections[prefix][0] if prefix else set()
        name = path.removeprefix(prefix)
        if not prefix or (names and name not in names):
            yield f"NOTICE: says nothing about {path}"
        covered.add((prefix, name if names else ""))
    for prefix, (names, text) in sections.items():
        if "Licence:" not in text:
            yield f"NOTICE: no licence for {prefix}"
        for name in sorted(names or {""}):
            if (prefix, name) not in covered:
                yield f"NOTICE: {prefix}{name} is not there"


def names_after(markdown, heading):
    """The names of the list below a line of the reference that starts so."""
    lines = iter(markdown.splitlines())
    if not any(line.startswith(heading) for line in lines):
        sys.exit(f"help --markdown: no list '{heading}'")
    next(lines)
    names = []
    for line in lines:
        found = re.match(r"- `([^`]+)`", line)
        if not found:
            break
        names.append(found.group(1))
    return names


def reference_of(program):
    """What `twofold help --markdown` prints."""
    return subprocess.run([program, "help", "--markdown"], capture_output=True, text=True, check=True).stdout


def undocumented(printed):
    docs = ROOT / "docs"
    readme = (ROOT / "README.md").read_text()
    methods = "".join(path.read_text() for path in sorted((docs / "methods").glob("*.md")))
    formats = (docs / "formats.md").read_text()
    for name in names_after(printed, "Values of `--method`"):
        if f"`{name}`" not in readme or not (docs / "methods" / f"{name}.md").exists():
            yield f"method {name}: needs docs/methods/{name}.md and a row in README.md"
    for name in names_after(printed, "Values of `--grid`"):
        if not re.search(rf"\b{name}\b", methods):
            yield f"docs/methods: no page names grid {name}"
    for name in names_after(printed, "Families of byte layouts"):
        if not re.search(rf"\b{name}\b", formats):
            yield f"docs/formats.md: does not name {name}"


def main():
    faults = [f"{name}: is not there" for name in REQUIRED if not (ROOT / name).is_file()]
    faults += [*broken_links(), *missing_notices((ROOT / "NOTICE").read_text(), others_files())]
    if len(sys.argv) > 1:
        faults += undocumented(reference_of(sys.argv[1]))
    print("\n".join(faults) if faults else "documents in order")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
