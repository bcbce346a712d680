#!/usr/bin/env python3
"""Checks shell scripts with shellcheck and that Python files compile. Scripts are found by their first line."""

import subprocess
import sys

from cpp_source import ROOT, source_files


def main():
    shell, python = [], []
    for path in source_files("run", ".ci", "tools", "experiments", "bench", "tests/tools", suffixes=("",)):
        with path.open("rb") as file:
            first = file.readline(64)
        if first.startswith(b"#!") and b"sh" in first.split()[-1]:
            shell.append(str(path.relative_to(ROOT)))
        elif first.startswith(b"#!") and b"python" in first or path.suffix == ".py":
            python.append(path)
    if not shell or not python:
        sys.exit("no scripts found")
    for path in python:
        compile(path.read_text(), str(path), "exec")
    status = subprocess.run(["shellcheck", *shell], cwd=ROOT, check=False).returncode
    if status == 0:
        print(f"{len(shell)} shell and {len(python)} Python files in order")
    sys.exit(status)


if __name__ == "__main__":
    main()
