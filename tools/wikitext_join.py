#!/usr/bin/env python3
"""Writes a WikiText file in the form in which papers score it: Hugging Face rows joined by a blank line.

    python3 tools/wikitext_join.py tests/data/text/wiki.test.raw > wiki.test.joined

The rows of the data set on the Hugging Face hub are the lines of the .raw file with their newline; a blank line (" \\n") is an
empty row. Evaluation scripts take "\\n\\n".join(rows). With the GPT-2 tokenizer wiki.test.raw has 286,221 tokens, the joined
form 287,644.
"""

import argparse
import sys
from pathlib import Path


def join_rows(raw):
    rows = raw.decode("utf-8").split("\n")
    if rows and rows[-1] == "":
        rows.pop()  # what stands after the last newline is no row
    return "\n\n".join("" if row.strip() == "" else row + "\n" for row in rows).encode("utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="wiki.*.raw (one paragraph or heading a line)")
    args = parser.parse_args()
    sys.stdout.buffer.write(join_rows(args.file.read_bytes()))


if __name__ == "__main__":
    main()
