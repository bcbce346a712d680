#!/usr/bin/env python3
"""Prints every test that was skipped in a run of ctest, with its reason.

    python3 tools/list_skipped.py build/release/Testing/Temporary/LastTest.log

ctest counts a program whose cases were partly skipped as passed and shows nothing of it.
"""

import re
import sys
from pathlib import Path

SKIPPED = re.compile(r"^\S+:\d+: Skipped\n(?P<reason>.*?)\n?^\[  SKIPPED \] (?P<name>\S+) \(\d+ ms\)$", re.MULTILINE | re.DOTALL)


def skipped(log):
    """(test, reason) of every GTEST_SKIP in the output of a run."""
    return [(match["name"], " ".join(match["reason"].split()) or "no reason given") for match in SKIPPED.finditer(log)]


def main():
    found = skipped(Path(sys.argv[1]).read_text(errors="replace"))
    for name, reason in found:
        print(f"skipped: {name}: {reason}")
    print(f"{len(found)} tests skipped" if found else "no test skipped")


if __name__ == "__main__":
    main()
