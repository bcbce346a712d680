#!/usr/bin/env python3
"""Checks the object files of the layers: wide vectors only where they belong.

    python3 tools/check_isa_objects.py BUILD_DIR        (not for builds with sanitizers, which add initializers)

An object of src/**/simd/<isa>/ or src/kernels/<isa>/ exports constant tables only, one symbol a file, which another object refers to;
it has no weak or inline symbols (the linker could pick its wide version for everybody), no code that runs at load time and needs no
C++ library. Every other object is free of AVX instructions. Needs nm and objdump, which come with the compiler.

A hot loop of a kernel spills nothing, but for those of FULL_REGISTERS: no innermost loop with integer products stores a vector on the
stack. (Constants that find no register, such as the tables of 8-bit codes on AVX2, may be read there.) Printed only, because it depends
on the machine: how long the slowest kernel file took to compile.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ISA_OBJECT = re.compile(r"\.dir/(?:.*/)?(?:simd/)?(avx2|avx512|avx512vnni|amx|neon)/[^/]+\.o$")
WIDE = re.compile(rb"^.*(?:%[yz]mm\d|\tv[a-z0-9]+ +.*%xmm\d).*$", re.MULTILINE)
KERNEL_OBJECT = re.compile(r"src/kernels/")
FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
INSTRUCTION = re.compile(r"^ +([0-9a-f]+):\t(\S+) *(.*)$")
JUMP_TARGET = re.compile(r"[0-9a-f]+\b")
INTEGER_PRODUCT = re.compile(r"vpdp|vpmadd|tdp")
VECTOR_TO_STACK = re.compile(r"%[xyz]mm\d+,(-?(?:0x[0-9a-f]+)?\(%r(?:sp|bp)\))(?:\{.*)?$")
# Loops that may: products with a few rows of codes whose tables or joined bits need more registers than are left, and tiles as high as the
# register file.
FULL_REGISTERS = re.compile(
    r"gemv<.*(?:(?:TableValues<4>|WideTableValues<[678]>), [2-4]|(?:PlaneValues<[134]>|RowTableValues<[56]>), [1-4]),"
    r"|add_group<.*TableValues<7>, 4>|add_group<.*TrellisValues<[1-4], (?:6|12), [02]>, [1-4]>|add_group<0, 12>"
)
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


def functions(disassembly):
    """(name, [(address, mnemonic, operands)]) of each function."""
    name, body = None, []
    for row in disassembly.splitlines():
        if label := FUNCTION.match(row):
            if body:
                yield name, body
            name, body = label[1], []
        elif instruction := INSTRUCTION.match(row):
            body.append((int(instruction[1], 16), instruction[2], instruction[3]))
    if body:
        yield name, body


def innermost_loops(body):
    """The instructions of each loop without another inside. Jumps back to one address are one loop."""
    last = {}
    for address, mnemonic, operands in body:
        target = JUMP_TARGET.match(operands) if mnemonic.startswith("j") else None
        if target and body[0][0] <= int(target[0], 16) <= address:
            last[int(target[0], 16)] = address
    loops = list(last.items())
    for begin, end in loops:
        if not any((begin, end) != (b, e) and begin <= b and e <= end for b, e in loops):
            yield [row for row in body if begin <= row[0] <= end]


def spills(disassembly):
    """(function, moves) of each hot loop that keeps vectors on the stack: moves and operands on the slots it writes."""
    for name, body in functions(disassembly):
        frame = any(mnemonic == "mov" and operands == "%rsp,%rbp" for _, mnemonic, operands in body)
        for loop in innermost_loops(body):
            if not any(INTEGER_PRODUCT.match(mnemonic) for _, mnemonic, _ in loop):
                continue
            stores = (VECTOR_TO_STACK.search(operands) for _, _, operands in loop)
            slots = {store[1] for store in stores if store and (frame or "%rsp" in store[1])}
            moves = sum(any(operands.startswith(slot) or f",{slot}" in operands for slot in slots) for _, _, operands in loop)
            if moves:
                yield name, moves


def slowest_kernel(build_dir):
    """(seconds, object) of the kernel that took longest in its last build, or None."""
    log = build_dir / ".ninja_log"
    seconds = {}
    for row in log.read_text().splitlines()[1:] if log.exists() else []:
        start, end, _, name = row.split("\t")[:4]
        if ISA_OBJECT.search(name) and KERNEL_OBJECT.search(name):
            seconds[name] = (int(end) - int(start)) / 1000
    return max(((time, name) for name, time in seconds.items()), default=None)


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
            if KERNEL_OBJECT.search(name):
                code = output("objdump", "-dC", "--no-show-raw-insn", str(path)).decode()
                violations += [f"{name}: {function}: {moves} uses of spilled vectors in a hot loop" for function, moves in spills(code)
                               if not FULL_REGISTERS.search(function)]
            tables.update({symbol: name for kind, symbol in table if kind in "RD"})
            continue
        wanted |= {symbol for kind, symbol in table if kind == "U"}
        found = WIDE.search(output("objdump", "-d", "--no-show-raw-insn", str(path)))
        if found:
            violations.append(f"{name}: baseline object with an AVX instruction: {found.group().decode().strip()}")
    violations += [f"{name}: table {symbol} is in no registry" for symbol, name in tables.items() if symbol not in wanted]
    summary = f"{isa_count} objects for wider instruction sets, {len(objects) - isa_count} for the baseline, in order"
    print("\n".join(violations) if violations else summary)
    if slowest := slowest_kernel(args.build_dir):
        print(f"slowest kernel to compile: {slowest[0]:.0f} s, {slowest[1]}")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
