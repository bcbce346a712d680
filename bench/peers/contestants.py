"""Programs as contestants: what `twofold bench` and the peers' llama-bench say of one turn."""

import json
import os
import subprocess
import sys
from pathlib import Path

import gguf_file
import peer_programs
from turns import GENERATE, IK, LLAMA, OURS, PROMPT, Contestant, Failed

LENGTHS = {PROMPT: (512, 0), GENERATE: (0, 64)}  # tokens of the prompt, tokens generated
FLAGS = {LLAMA: ([],), IK: ([], ["-rtr", "1"])}  # ik_llama.cpp without and with repacking when it loads


def say(line):
    print(line, file=sys.stderr, flush=True)


def cpu_model():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown CPU"


def figures_of(rows):
    """`twofold bench --json` of one test."""
    row, = rows["rows"]
    keys = ("bytes_per_token", "isa", "format", "bytes_per_second", "bandwidth_share", "peak_share")
    return {"speed": row["tokens_per_second"], **{key: row.get(key) for key in keys}}


def call(command, tier=""):
    """What the program prints. @raises Failed"""
    environment = {**os.environ, "TWOFOLD_ISA": tier} if tier else None
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    if result.returncode != 0:
        raise Failed(f"exit status {result.returncode}: {peer_programs.reason(result.stderr)}")
    return result.stdout


def ours(program, folder, name, bits, tier=""):
    def run(what, threads):
        prompt, generate = LENGTHS[what]
        return figures_of(json.loads(call([program, "bench", folder, "--prompt", prompt, "--generate", generate, "--threads", threads,
                                           "--repetitions", 1, "--json", "--quiet"], tier)))
    return Contestant(OURS, name, bits, run, tier)


def theirs(peer, model, name, bits, flags):
    size = gguf_file.bytes_per_token(model)

    def run(what, threads):
        try:
            return {"speed": peer_programs.bench(peer, model, threads, LENGTHS[what], flags), "bytes_per_token": size}
        except peer_programs.PeerError as error:
            raise Failed(str(error)) from error
    return Contestant(peer.name, " ".join([name, *flags]), bits, run)
