"""Builds llama.cpp and ik_llama.cpp from the source archives of their Python packages, for CPUs only, and runs their tools."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

OPTIONS = ("-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DGGML_NATIVE=ON", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_SERVER=OFF")
WITHOUT_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
TARGETS = ("llama-bench", "llama-quantize")


class PeerError(Exception):
    """A peer does not build, or its program fails."""


@dataclass(frozen=True)
class Source:
    """Where a peer comes from. `options` are those of cmake beside OPTIONS."""

    name: str
    package: str
    version: str
    folder: str  # of the sources, within the archive
    options: tuple
    has_amx: bool = False

    @property
    def requirement(self):
        return f"{self.package}=={self.version}"


# ik_llama.cpp: attention kernels for 16-bit and 8-bit caches only, in place of every pair of types, which takes an hour to compile.
SOURCES = (
    Source("llama.cpp", "llama-cpp-python", "0.3.36", "vendor/llama.cpp",
           ("-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_TOOLS=ON", "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_OPENSSL=OFF"), has_amx=True),
    Source("ik_llama.cpp", "ik-llama-cpp-python", "0.1.5", "vendor/ik_llama.cpp",
           ("-DLLAMA_BUILD_EXAMPLES=ON", "-DGGML_IQK_FA_ALL_QUANTS=OFF")),
)


@dataclass
class Peer:
    """A built peer."""

    source: Source
    bench: Path
    quantizer: Path
    options: list = field(default_factory=list)  # of cmake

    @property
    def name(self):
        return self.source.name


def cpu_flags(path=Path("/proc/cpuinfo")):
    for line in path.read_text().splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()


def avoids_amx(flags):
    """llama.cpp's AMX back end crashes on quantized files in virtual machines."""
    return "amx_int8" in flags and "hypervisor" in flags


def reason(text):
    """The line of what a program wrote that says why it failed: the first that names an error, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = re.compile(r"\berror\b[^=]|ASSERT|\bfailed\b", re.IGNORECASE)
    return next((line for line in lines if named.search(line)), lines[-1] if lines else "it wrote nothing")[:300]


def _run(command, log, seconds=None):
    with log.open("a") as file:
        file.write(f"$ {' '.join(map(str, command))}\n")
        file.flush()
        begin = file.tell()
        try:
            status = subprocess.run(list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, check=False, timeout=seconds).returncode
        except subprocess.TimeoutExpired as error:
            raise PeerError(f"{Path(command[0]).name} was stopped after {seconds / 60:g} minutes") from error
    if status != 0:
        with log.open(errors="replace") as file:
            file.seek(begin)
            text = file.read()
        raise PeerError(f"{Path(command[0]).name} ended with status {status}: {reason(text)} (log: {log})")


def _sources(source, work, log):
    """The folder of the sources; downloads and unpacks the archive if it is not there."""
    stem = f"{source.package.replace('-', '_')}-{source.version}"
    folder = work / "sources" / stem
    if not folder.exists():
        archives, unpacked = work / "archives", work / "sources/partial"
        if not (archives / f"{stem}.tar.gz").exists():
            _run([sys.executable, "-m", "pip", "download", "--no-binary", source.package, "--no-deps", "--dest", archives,
                  "--disable-pip-version-check", source.requirement], log)
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir(parents=True)
        _run(["tar", "-xzf", archives / f"{stem}.tar.gz", "-C", unpacked], log)
        (unpacked / stem).rename(folder)
        unpacked.rmdir()
    return folder / source.folder


def _add_build_info(sources, requirement):
    """ik_llama.cpp's archive lacks the script that makes this file: it is written here."""
    template, target = sources / "common/build-info.cpp.in", sources / "common/build-info.cpp"
    if (sources / "common/CMakeLists.txt").read_text().find("build-info-gen-cpp.cmake") < 0:
        return
    if not (sources / "common/cmake/build-info-gen-cpp.cmake").exists() and not target.exists():
        text = template.read_text().replace("@BUILD_NUMBER@", "0").replace("@BUILD_COMMIT@", requirement)
        target.write_text(text.replace("@BUILD_COMPILER@", "").replace("@BUILD_TARGET@", ""))


def build_options(source, without_amx):
    """Options of cmake."""
    amx = [f"-DCMAKE_C_FLAGS={WITHOUT_AMX}", f"-DCMAKE_CXX_FLAGS={WITHOUT_AMX}"] if source.has_amx and without_amx else []
    return [*OPTIONS, *source.options, *amx]


def wanted(source, options):
    """What a finished build says of itself."""
    return [source.requirement, *options]


def build(source, work, jobs, without_amx):
    """A Peer. @raises PeerError if there is no archive, or it does not build."""
    options = build_options(source, without_amx)
    folder, log = work / f"build-{source.name}", work / f"build-{source.name}.log"
    stamp = folder / "finished.json"
    peer = Peer(source, folder / "bin/llama-bench", folder / "bin/llama-quantize", options)
    if stamp.exists() and json.loads(stamp.read_text()) == wanted(source, options) and peer.bench.exists() and peer.quantizer.exists():
        return peer
    work.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    print(f"{source.name}: building {source.requirement} in {folder}, which takes long (log: {log})", file=sys.stderr, flush=True)
    sources = _sources(source, work, log)
    _add_build_info(sources, source.requirement)
    _run(["cmake", "-S", sources, "-B", folder, *options], log)
    _run(["cmake", "--build", folder, "--target", *TARGETS, "--parallel", jobs], log)
    stamp.write_text(json.dumps(wanted(source, options)))
    return peer


def importance_matrix(peer, model, text, folder, windows, threads):
    """Second moments of inputs over windows (how many, of how many tokens), by the peer's llama-imatrix, which is built if it is not there; kept.
    Written in the older form, which both peers read. @raises PeerError"""
    chunks, context = windows
    target, log = folder / f"{model.stem}-{chunks}.imatrix", folder / "imatrix.log"
    if target.exists() and target.stat().st_mtime >= max(model.stat().st_mtime, text.stat().st_mtime):
        return target
    program, partial = peer.bench.parent / "llama-imatrix", target.with_suffix(".partial")
    if not program.exists():
        _run(["cmake", "--build", program.parent.parent, "--target", program.name, "--parallel", threads], log)
    print(f"{peer.name}: importance matrix of {model.name}", file=sys.stderr, flush=True)
    _run([program, "-m", model, "-f", text, "-c", context, "--chunks", chunks, "-t", threads, "--no-ppl", "--output-format", "dat", "-o", partial], log)
    partial.rename(target)
    return target


def quantize(peer, model, file_type, folder, threads, importance=None, seconds=None):
    """`model` in one of the peer's own types, made by its own program; kept. Stopped after so many seconds. @raises PeerError"""
    target = folder / f"{model.stem}-{peer.name}-{file_type}{'-imatrix' if importance else ''}.gguf"
    if target.exists() and target.stat().st_mtime >= model.stat().st_mtime:
        return target
    partial, log = target.with_suffix(".partial"), folder / "quantize.log"
    print(f"{peer.name}: quantizing {model.name} to {file_type}", file=sys.stderr, flush=True)
    log.unlink(missing_ok=True)
    matrix = ["--imatrix", importance] if importance else []
    try:
        _run([peer.quantizer, "--allow-requantize", *matrix, model, partial, file_type, threads], log, seconds)
    except PeerError:
        partial.unlink(missing_ok=True)
        raise
    partial.rename(target)
    return target


def decode(peer, file, threads):
    """The file with every matrix in float16, beside it, by the peer's own program; kept. @raises PeerError"""
    target = file.with_name(f"{file.stem}-decoded.gguf")
    if target.exists() and target.stat().st_mtime >= file.stat().st_mtime:
        return target
    partial = target.with_suffix(".partial")
    _run([peer.quantizer, "--allow-requantize", file, partial, "F16", threads], file.with_name("decode.log"))
    partial.rename(target)
    return target


def parse_bench(text):
    """JSON of llama-bench for one test -> tokens per second."""
    try:
        test, = json.loads(text)
        return float(test["avg_ts"])
    except (ValueError, KeyError, TypeError) as error:
        raise PeerError(f"llama-bench wrote something else than the JSON of one test: {error}") from error


def bench(peer, model, threads, lengths, flags):
    """One test, after the program's own warm-up: tokens per second of a prompt or of generating; one of both lengths is 0.
    @raises PeerError"""
    prompt, generated = lengths
    command = [peer.bench, "-m", model, "-p", prompt, "-n", generated, "-t", threads, "-r", 1, "-o", "json", *flags]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise PeerError(f"llama-bench ended with status {result.returncode}: {reason(result.stderr)}")
    return parse_bench(result.stdout)
