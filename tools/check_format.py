#!/usr/bin/env python3
"""Checks that clang-format would change nothing (or, with --fix, lets it change the files)."""

import argparse
import subprocess
import sys

from cpp_source import CPP_FOLDERS, ROOT, source_files


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fix", action="store_true")
    args = parser.parse_args()
    files = [str(path.relative_to(ROOT)) for path in source_files(*CPP_FOLDERS)]
    options = ["-i"] if args.fix else ["--dry-run", "-Werror"]
    result = subprocess.run(["clang-format", *options, *files], cwd=ROOT, check=False)
    if result.returncode == 0:
        print(f"{len(files)} files in order")
    sys.exit(result.returncode)


if __name__ == "__main__":
    main()
