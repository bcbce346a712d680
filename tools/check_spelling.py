#!/usr/bin/env python3
"""Runs codespell over sources, comments and documents; data, models and licence texts are left out."""

import re
import subprocess
import sys
import tempfile

from cpp_source import ROOT, source_files

SKIPPED = ("models/", "tests/data/", "data/calibration/", "LICENSE")
TEXT_SUFFIXES = (".cpp", ".h", ".in", ".md", ".py", ".txt", ".cmake", "run", "NOTICE", ".json")
IGNORED_WORDS = "ot,te,nd,ser,fo,ans,kinf,methid"  # names of variables and words of tokenizer tests


def main():
    names = [str(path.relative_to(ROOT)) for path in source_files(".", suffixes=TEXT_SUFFIXES)]
    names = [name for name in names if not name.startswith(SKIPPED)]
    # What a small model writes in the readme's demo is no mistake of ours.
    written = re.search(r"<!-- demo -->\n(.*?)<!-- /demo -->", (ROOT / "README.md").read_text(), re.DOTALL)
    with tempfile.NamedTemporaryFile("w") as excluded:
        excluded.write(written.group(1) if written else "")
        excluded.flush()
        command = ["codespell", "--ignore-words-list", IGNORED_WORDS, "--exclude-file", excluded.name, *names]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status == 0:
        print(f"{len(names)} files in order")
    sys.exit(status)


if __name__ == "__main__":
    main()
