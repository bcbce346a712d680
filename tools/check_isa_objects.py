#!/usr/bin/env python3
"""Checks the object files of the layers: wide vectors only where they belong.

    python3 tools/check_isa_objects.py BUILD_DIR        (not for builds with sanitizers, which add initializers)

An object of src/**/simd/<isa>/ or src/kernels/<isa>/ exports constant tables only, one symbol a file, which another object refers to;
it has no weak or inline symbols (the linker could pick its wide version for everybody), no code that runs at load time and needs no
C++ library. Every other object is free of AVX instructions. Needs nm and objdump, which come with the compiler.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ISA_OBJECT = re.compile(r"\.dir/(?:.*/)?(?:simd/)?(avx2|avx512|avx512vnni|amx|neon)/[^/]+\.o$")
WIDE = re.compile(rb"^.*(?:%[yz]mm\d|\tv[a-z0-9]+ +.*%xmm\d).*$", re.MULTILINE)
LOAD_TIME_SECTIONS = re.compile(r"\s\.(?:init_array|ctors|preinit_array)\b")


def output(*command):
    return subprocess.run(command, capture_output=True, check=True).stdout


def symbols(path):
    """[(type letter, name)] of the external symbols of an object, undefined ones included."""
    rows = (line.split() for line in output("nm", "--extern-only", str(path)).decode().splitlines())
    return [(row[-2], row[-1]) for row in rows]


def check_isa_object(name, table, sections):
    exported = [(kind, symbol) for kind, symbol in table if kind not in "Uw"]
    for kind, symbol in exported:
        if kind not in "RD":
            yield f"{name}: exports {symbol} ({'a weak or inline symbol' if kind in 'WVu' else 'no constant table'})"
    if len(exported) != 1:
        yield f"{name}: exports {len(exported)} symbols, expected one table"
    for kind, symbol in table:
        if kind == "U" and re.match(r"_ZN?K?S[tabsiod]|_Zn[wa]|_Zd[la]|__cxa_", symbol):
            yield f"{name}: needs {symbol} of the C++ library"
    if LOAD_TIME_SECTIONS.search(sections):
        yield f"{name}: has code that runs at load time"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build_dir", type=Path)
    args = parser.parse_args()
    objects = sorted((args.build_dir / "src").rglob("*.o"))
    if not objects:
        sys.exit(f"{args.build_dir}/src: no object files, build first")
    violations, tables, wanted, isa_count = [], {}, set(), 0
    for path in objects:
        name = str(path.relative_to(args.build_dir))
        table = symbols(path)
        if ISA_OBJECT.search(name):
            isa_count += 1
            violations += check_isa_object(name, table, output("objdump", "-h", str(path)).decode())
            tables.update({symbol: name for kind, symbol in table if kind in "RD"})
            continue
        wanted |= {symbol for kind, symbol in table if kind == "U"}
        found = WIDE.search(output("objdump", "-d", "--no-show-raw-insn", str(path)))
        if found:
            violations.append(f"{name}: baseline object with an AVX instruction: {found.group().decode().strip()}")
    violations += [f"{name}: table {symbol} is in no registry" for symbol, name in tables.items() if symbol not in wanted]
    summary = f"{isa_count} objects for wider instruction sets, {len(objects) - isa_count} for the baseline, in order"
    print("\n".join(violations) if violations else summary)
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
