"""What a comparison of speeds says: ratios, limits, tables."""

import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from turns import GENERATE, IK, LLAMA, OURS, PROMPT, ratios, rival

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "experiments"))
from study import markdown_table  # noqa: E402  pylint: disable=wrong-import-position

# Least ratio by peer and number of threads: over ik_llama.cpp, over llama.cpp where the other is not to be had.
LIMITS = {(GENERATE, 4): {IK: {1: 1.05, 2: 1.05}, LLAMA: {1: 1.28, 2: 1.15}},
          (GENERATE, 3): {IK: {1: 1.6, 2: 1.4}, LLAMA: {1: 2.1, 2: 1.65}},
          (GENERATE, 2): {IK: {1: 1.8, 2: 1.5}, LLAMA: {1: 2.15, 2: 1.6}},
          **{(PROMPT, bits): {IK: {1: 1.1, 2: 1.15}, LLAMA: {1: 1.9, 2: 1.65}} for bits in (4, 3, 2)}}
LEAST_OVER_TIER = 3.0  # prompts with AMX over those of the instruction set below
PLANES, AFFINE = "r16-b3", "r16-u3"  # planes of GPTQT are not slower than GPTQ's integers, which have no limit of their own
PLAIN_2 = "r16-u2-g64"  # prompts of the trellis of 2 bits are as fast within 5 %
TRELLIS = {"r16-tr3": ("IQ3_KT", 3.5), "r16-tr2": ("IQ2_KT", 4.0)}  # our trellises beside the peer's, least ratio generating
AIMS = {4: 0.9, 3: 0.8, 2: 0.8}  # shares of the measured bandwidth when generating


@dataclass
class Verdict:
    """One of our figures beside a peer's best, or beside another of ours."""

    what: str
    ours: object  # Contestant
    threads: int
    rivals: dict  # engine -> (contestant, ratio)
    limit: float = None
    judged: str = ""  # the engine whose ratio counts

    @property
    def met(self):
        return self.limit is None or self.rivals[self.judged][1] >= self.limit

    def line(self):
        parts = [f"{value:.2f} x {engine} {one.label} ({one.median(self.what, self.threads):.1f})"
                 for engine, (one, value) in self.rivals.items()]
        limit = f"; must {self.limit:g} over {self.judged}: {'met' if self.met else 'MISSED'}" if self.limit else ""
        figure = self.ours.median(self.what, self.threads)
        return f"{self.what}, t{self.threads}, {self.ours.label}: {figure:.1f} tokens/s = {', '.join(parts)}{limit}"


def beside(ours, others, what, threads):
    """engine -> (contestant, median of the ratios of rounds that both have)."""
    values = {engine: (other, ratios(ours, other, what, threads)) for engine, other in others.items() if other}
    return {engine: (other, statistics.median(found)) for engine, (other, found) in values.items() if found}


def limit_of(limits, what, one, held, engine, threads):
    if (what, one.name) == (GENERATE, AFFINE) or (one.name in held and not one.tier):
        return None  # the tier below AMX is the one whose prompts have a limit over the peers
    if what == GENERATE and one.name in TRELLIS:
        return 1.0 if threads > 1 else None  # not slower than plain codes of as many bits
    return limits.get((what, one.bits), {}).get(engine, {}).get(threads)


def verdicts_of(contestants, limits):
    """Every format of ours beside the best of each peer; `limits` as LIMITS."""
    verdicts = []
    for what in (GENERATE, PROMPT):
        ours = [one for one in contestants if one.engine == OURS]
        held = {one.name for one in ours if one.tier and what == PROMPT}
        for one in ours:
            for threads in sorted(count for measured, count in one.figures if measured == what):
                rivals = beside(one, {engine: rival(contestants, one, engine, what, threads) for engine in (IK, LLAMA)}, what, threads)
                if rivals:
                    judged = next(iter(rivals))
                    verdicts.append(Verdict(what, one, threads, rivals, limit_of(limits, what, one, held, judged, threads), judged))
    return verdicts


def own_verdicts(contestants):
    """Our formats beside each other: planes against integers, AMX against the tier below."""
    verdicts = []
    ours = {one.label: one for one in contestants if one.engine == OURS}
    pairs = [(GENERATE, ours.get(PLANES), ours.get(AFFINE), 1.0)]
    pairs += [(PROMPT, ours.get(one.name), one, LEAST_OVER_TIER) for one in ours.values()
              if one.tier and (ours.get(one.name) or one).first("isa") == "amx"]
    for what, one, other, limit in pairs:
        for threads in sorted(count for measured, count in one.figures if measured == what) if one and other else ():
            rivals = beside(one, {OURS: other}, what, threads)
            if rivals:
                verdicts.append(Verdict(what, one, threads, rivals, limit, OURS))
    return verdicts


def trellis_verdicts(contestants):
    """Our trellises beside the peer's, and their prompts beside those of a plain format."""
    verdicts = []
    for one in (one for one in contestants if one.engine == OURS and one.name in TRELLIS):
        kind, least = TRELLIS[one.name]
        plain = next((other for other in contestants if other.label == one.label.replace(one.name, PLAIN_2)), None)
        theirs = [other for other in contestants if other.engine == IK and other.name.split()[0] == kind]
        for what, threads in sorted(one.figures):
            if what == PROMPT and one.bits != 2:
                continue
            fastest = max(theirs, key=lambda other: other.median(what, threads), default=None)  # pylint: disable=cell-var-from-loop
            rivals = beside(one, {OURS: plain} if what == PROMPT else {IK: fastest}, what, threads)
            if rivals:
                limit = 0.95 if what == PROMPT else least if threads > 1 else None
                verdicts.append(Verdict(what, one, threads, rivals, limit, next(iter(rivals))))
    return verdicts


def speed_cell(one, what, threads):
    speeds = one.speeds(what, threads)
    return f"{statistics.median(speeds):.1f} ({min(speeds):.1f}-{max(speeds):.1f})" if speeds else "-"


def figure_table(contestants, threads):
    header = ["bits", "program", "format or type", "MB per token"]
    header += [f"{what}, t{count}" for what in (GENERATE, PROMPT) for count in threads]
    rows = []
    for one in sorted(contestants, key=lambda one: -one.bits):
        if not one.figures:
            continue
        label = one.label + (f" (`{one.first('format')}`)" if one.first("format") not in (None, one.name) else "")
        label += " (three values)" if one.ternary else ""
        rows.append([str(one.bits), one.engine, label, f"{one.first('bytes_per_token') / 1e6:.1f}"]
                    + [speed_cell(one, what, count) for what in (GENERATE, PROMPT) for count in threads])
    return markdown_table(header, rows)


def state(verdict):
    """met or missed where there is a limit, and which peers are faster."""
    faster = [f"slower than {engine}" for engine, (_, value) in verdict.rivals.items() if engine != OURS and value < 1]
    limit = [] if verdict.limit is None else ["met" if verdict.met else "**missed**"]
    return ", ".join(limit + faster)


def ratio_table(verdicts):
    """Ours beside the peers' best."""
    header = ["", "threads", "twofold", "tokens/s"]
    header += [cell for engine in (IK, LLAMA) for cell in (f"{engine}, best", "tokens/s", "ratio")] + ["must", ""]
    rows = []
    for one in (one for one in verdicts if OURS not in one.rivals):
        row = [one.what, str(one.threads), one.ours.label, f"{one.ours.median(one.what, one.threads):.1f}"]
        for engine in (IK, LLAMA):
            other, value = one.rivals.get(engine, (None, None))
            row += [other.label, f"{other.median(one.what, one.threads):.1f}", f"{value:.2f}"] if other else ["-"] * 3
        must = "" if one.limit is None else f"{one.limit:g} over {one.judged}"
        rows.append([*row, must, state(one)])
    return markdown_table(header, rows)


def own_table(verdicts):
    """Ours beside ours."""
    header = ["", "threads", "twofold", "tokens/s", "over", "tokens/s", "ratio", "must", ""]
    rows = []
    for one in (one for one in verdicts if OURS in one.rivals):
        other, value = one.rivals[OURS]
        rows.append([one.what, str(one.threads), one.ours.label, f"{one.ours.median(one.what, one.threads):.1f}", other.label,
                     f"{other.median(one.what, one.threads):.1f}", f"{value:.2f}", f"{one.limit:g}", state(one)])
    return markdown_table(header, rows) if rows else ""


def share_table(contestants, threads):
    """Our formats: GB/s of weights and share of the bandwidth when generating, share of the integer peak on prompts; all of the same run."""
    header = ["twofold", *(f"GB/s, t{count}" for count in threads), *(f"of the bandwidth, t{count}" for count in threads), "aim",
              *(f"of the integer peak, prompt, t{count}" for count in threads)]
    rows = []
    for one in (one for one in contestants if one.engine == OURS and one.figures):
        share = lambda what, count, key, scale, unit: f"{scale * one.median(what, count, key):.1f}{unit}" if one.median(what, count, key) else "-"
        rows.append([one.label, *(share(GENERATE, count, "bytes_per_second", 1e-9, "") for count in threads),
                     *(share(GENERATE, count, "bandwidth_share", 100, " %") for count in threads),
                     f"{100 * AIMS[one.bits]:.0f} %" if not one.tier else "", *(share(PROMPT, count, "peak_share", 100, " %") for count in threads)])
    return markdown_table(header, rows)


def summary(verdicts):
    judged = [one for one in verdicts if one.limit is not None]
    slower = [one for one in verdicts for engine, (_, value) in one.rivals.items() if engine != OURS and value < 1]
    return f"{sum(one.met for one in judged)} of {len(judged)} limits met; slower than a peer's best in {len(slower)} cases."
