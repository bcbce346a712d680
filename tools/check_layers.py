#!/usr/bin/env python3
"""Checks that the sources keep to the layer table of docs/architecture.md and to the rules of a library.

- #include "layer/..." only of layers, <library> headers only of libraries, that the row of the including layer names;
- under src/ nothing prints, exits or aborts;
- intrinsics, their headers and ISA macros only in src/**/simd/<isa>/ and src/kernels/<isa>/, and those files include
  no header of the standard library that could bring inline functions.
Prints one line per violation; exit status 1 if there are any.
"""

import re
import sys

from cpp_source import ROOT, blank_comments_and_strings, source_files

LIBRARIES = {  # how a third-party header is recognized -> its name in the table
    r"fmt/": "fmt",
    r"nlohmann/": "nlohmann-json",
    r"openssl/": "libcrypto",
    r"pcre2\.h": "PCRE2",
    r"utf8proc\.h": "utf8proc",
    r"CLI/": "CLI11",
    r"gtest/": "GoogleTest",
    r"cblas|lapack|openblas": "BLAS",
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
FORBIDDEN = re.compile(
    r"\b(?:std::)?(printf|fprintf|puts|putchar|perror|abort|terminate|exit|_Exit|quick_exit)\s*\(|\bstd::(cout|cerr|clog)\b"
    r"|\bfmt::(print|println)\s*\(|\b(assert)\s*\("
)
INTRINSIC = re.compile(r"\b(_mm\d*_\w+|__m(?:128|256|512)\w*|v(?:ld|st)\d+q?_\w+|__(?:AVX|SSE|FMA|ARM_NEON)\w*)\b")
ISA_FILE = re.compile(r"^src/(?:.*/simd|kernels)/(?:avx2|avx512|avx512vnni|amx|neon)/")
ISA_HEADERS = {"immintrin.h", "arm_neon.h", "cstdint", "cstddef"}
INTRINSIC_HEADER = re.compile(r"(?:[a-z]mmintrin|immintrin|arm_neon|x86intrin)\.h$")


def read_table():
    """layer -> (layers it may include, libraries it may include), from the table under '## Layers'."""
    text = (ROOT / "docs/architecture.md").read_text()
    section = text.split("\n## Layers\n", 1)[1].split("\n## ", 1)[0]
    rows = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or cells[0] == "layer" or set(cells[0]) <= {"-"}:
            continue
        layers, libraries = ({name.strip() for name in cell.split(",") if name.strip()} for cell in cells[1:3])
        rows[cells[0]] = (layers | {cells[0]}, libraries)
    return rows


def check_includes(name, layer, text, table, report):
    layers, libraries = table[layer]
    for match in INCLUDE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        kind, path = match.groups()
        if kind == '"' and "/" in path:
            target = path.split("/", 1)[0]
            if target not in layers:
                report(name, line, f'layer {layer} may not include "{path}"')
        if kind == "<":
            for pattern, library in LIBRARIES.items():
                if re.match(pattern, path) and library not in libraries:
                    report(name, line, f"layer {layer} may not include <{path}> ({library})")
            if INTRINSIC_HEADER.match(path) and not ISA_FILE.match(name):
                report(name, line, f"<{path}> outside of simd/<isa>/ and kernels/<isa>/")
            if ISA_FILE.match(name) and path not in ISA_HEADERS:
                report(name, line, f"<{path}> may bring inline functions into code compiled for wide vectors")


def check_text(name, text, report):
    clean = blank_comments_and_strings(text)
    for number, line in enumerate(clean.splitlines(), 1):
        if name.startswith("src/"):
            found = FORBIDDEN.search(line)
            if found:
                report(name, number, f"a library does not call {next(group for group in found.groups() if group)}")
        if not ISA_FILE.match(name):
            found = INTRINSIC.search(line)
            if found:
                report(name, number, f"{found.group(1)} outside of simd/<isa>/ and kernels/<isa>/")


def main():
    violations = []

    def report(name, line, text):
        violations.append(f"{name}:{line}: {text}")

    table = read_table()
    if len(table) < 10:
        sys.exit("docs/architecture.md: the layer table was not found")
    seen = set()
    for path in source_files("src", "apps"):
        name = str(path.relative_to(ROOT))
        layer = name.split("/")[1] if name.startswith("src/") else "apps"
        seen.add(layer)
        if layer not in table:
            report(name, 1, f"layer {layer} is not in the table of docs/architecture.md")
            continue
        text = path.read_text()
        check_includes(name, layer, text, table, report)
        check_text(name, text, report)
    for layer in sorted(set(table) - seen):
        violations.append(f"docs/architecture.md: layer {layer} has no files")
    print("\n".join(violations) if violations else f"{len(seen)} layers in order")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
