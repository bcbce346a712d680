#!/usr/bin/env python3
"""Checks that no source file is longer than 800 lines and no function longer than 80.

Bodies of C++ functions are found by counting braces (a lambda counts into the function that holds it), Python's by its own
parser. Prints one line per violation; exit status 1 if there are any.
"""

import argparse
import ast
import sys

from cpp_source import CPP_FOLDERS, ROOT, functions, source_files

MAX_FILE, MAX_FUNCTION = 800, 80


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno, node.name


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longest", type=int, metavar="N", help="also print the N longest functions")
    args = parser.parse_args()
    violations, lengths, files = [], [], 0
    for path in source_files(*CPP_FOLDERS, "tools", "experiments", suffixes=(".cpp", ".h", ".py")):
        files += 1
        name, text = path.relative_to(ROOT), path.read_text()
        lines = text.count("\n")
        if lines > MAX_FILE:
            violations.append(f"{name}: {lines} lines, at most {MAX_FILE}")
        for first, last, head in python_functions(text) if path.suffix == ".py" else functions(text):
            length = last - first + 1
            lengths.append((length, f"{name}:{first}: {head[-60:]}"))
            if length > MAX_FUNCTION:
                violations.append(f"{name}:{first}: a function of {length} lines, at most {MAX_FUNCTION}: {head[-60:]}")
    for length, where in sorted(lengths, reverse=True)[: args.longest or 0]:
        print(length, where)
    print("\n".join(violations) if violations else f"{files} files, {len(lengths)} functions, none too long")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
