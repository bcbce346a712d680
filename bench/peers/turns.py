"""Contestants of a comparison of speeds, and the turns they take. What ran is kept in a journal, so that an interrupted run goes on."""

import json
import statistics
from dataclasses import dataclass, field
from itertools import zip_longest

OURS, LLAMA, IK = "twofold", "llama.cpp", "ik_llama.cpp"
PROMPT, GENERATE = "prompt", "generate"
TERNARY = ("TQ2_0",)  # three values: shown, no rival of formats with four
TRELLIS_TYPES = ("IQ2_KT", "IQ3_KT")  # far slower than plain types, but our trellises have limits over them: they stay in the race

KEEPS_UP = 0.85  # of the best median of its engine and kind: a peer's type below it takes no further turns
KEEPS_UP_BEFORE = 0.6  # the same, to begin with other numbers of threads
STEADY = 0.15  # spread of a pair's ratios between their quartiles, above which the pair takes more turns


class Failed(Exception):
    """A contestant does not run."""


@dataclass
class Contestant:
    engine: str
    name: str
    bits: int
    run: object = None  # (what, threads) -> {"speed": tokens per second, "bytes_per_token": ..., and what else is known}
    tier: str = ""  # the instruction set it is held to; then it takes part in prompts only
    figures: dict = field(default_factory=dict)  # (what, threads) -> number of the round -> a result of `run`
    problems: dict = field(default_factory=dict)  # what -> why it does not run

    @property
    def label(self):
        return f"{self.name}, {self.tier}" if self.tier else self.name

    @property
    def ternary(self):
        return self.name.split()[0] in TERNARY

    @property
    def trellis(self):
        return self.name.split()[0] in TRELLIS_TYPES

    def speeds(self, what, threads):
        return [figures["speed"] for figures in self.figures.get((what, threads), {}).values()]

    def median(self, what, threads, key="speed"):
        values = [figures[key] for figures in self.figures.get((what, threads), {}).values() if figures.get(key) is not None]
        return statistics.median(values) if values else 0.0

    def first(self, key):
        return next((figures[key] for rounds in self.figures.values() for figures in rounds.values() if figures.get(key)), None)


def ratios(ours, theirs, what, threads):
    """The quotients of both figures of a round, for every round that both have."""
    a, b = (one.figures.get((what, threads), {}) for one in (ours, theirs))
    return [a[number]["speed"] / b[number]["speed"] for number in sorted(a) if number in b]


def spread(values):
    """Between the quartiles, as a share of the median."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle


def same_race(one, other, what):
    """Peers compete for being the best of their engine: of as many bits when generating, of any number for prompts; trellises when
    generating among themselves."""
    return one.engine == other.engine and (what == PROMPT or (one.bits == other.bits and one.trellis == other.trellis))


def rival(contestants, ours, engine, what, threads):
    """The peer's type that leaves us the least ratio: both figures of a ratio are of the same round, while medians of other rounds are of a
    machine in another state. One that fell behind after the first round is none. None if nothing of the peer ran beside `ours`."""
    race = [one for one in contestants if one.engine == engine and not one.ternary and (what == PROMPT or one.bits == ours.bits)]
    least = min(2, max((len(one.speeds(what, threads)) for one in race), default=0))
    fits = [one for one in race if len(one.speeds(what, threads)) >= least and ratios(ours, one, what, threads)]
    return min(fits, key=lambda one: statistics.median(ratios(ours, one, what, threads)), default=None)


def keeps_up(one, contestants, what, threads, share):
    """Whether a peer's type may still be its engine's best; True for ours, and where nothing has run."""
    if one.engine == OURS or not one.speeds(what, threads):
        return True
    best = max((other.median(what, threads) for other in contestants if same_race(one, other, what) and not other.ternary), default=0)
    return one.median(what, threads) >= share * best


def judged_pairs(contestants, what, threads):
    """(ours, its rival): of ik_llama.cpp where there is one, else of llama.cpp."""
    held = {one.name for one in contestants if one.tier and one.speeds(what, threads)}
    for one in contestants:
        if one.engine != OURS or not one.speeds(what, threads) or (one.name in held and not one.tier):
            continue
        other = rival(contestants, one, IK, what, threads) or rival(contestants, one, LLAMA, what, threads)
        if other:
            yield one, other


def in_turns(contestants):
    """twofold, llama.cpp, ik_llama.cpp, twofold, ... of one number of bits after the other."""
    order = []
    for bits in sorted({one.bits for one in contestants}, reverse=True):
        columns = [[one for one in contestants if one.bits == bits and one.engine == engine] for engine in (OURS, LLAMA, IK)]
        order += [one for row in zip_longest(*columns) for one in row if one]
    return order


class Journal:
    """Finished rounds of a run of the same contestants by the same programs. A run that ended leaves a journal that says so.
    The last entry of the key are the names of the contestants."""

    def __init__(self, path, key):
        self.path, self.key, self.rounds, self.ended = path, key, {}, False
        self.same = True  # whether what was loaded is of the same contestants and programs
        self.known = []  # contestants of what was loaded

    def load(self, ended=False):
        """Takes the rounds of the run before, if it was the same and did (not) end. Returns whether there were any."""
        try:
            kept = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return False
        if kept["ended"] != ended or (kept["key"] != self.key and not ended):
            return False
        self.rounds, self.ended, self.known = kept["rounds"], ended, kept["key"][-1]
        self.same = kept["key"][:-1] == self.key[:-1] and set(self.known) <= set(self.key[-1])
        return bool(self.rounds)

    @staticmethod
    def name(what, threads, number):
        return f"{what} t{threads} round {number}"

    def save(self):
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps({"key": self.key, "ended": self.ended, "rounds": self.rounds}))
        partial.rename(self.path)

    def replay(self, contestants, what, threads, number):
        """Whether this round is known; then its figures are taken from here."""
        kept = self.rounds.get(self.name(what, threads, number))
        for one in contestants if kept is not None else ():
            figures = kept.get(f"{one.engine} {one.label}", {})
            if "problem" in figures:
                one.problems[what] = figures["problem"]
            if "speed" in figures:
                one.figures.setdefault((what, threads), {})[number] = figures
        return kept is not None

    def keep(self, contestants, what, threads, number):
        kept = {}
        for one in contestants:
            figures = {"problem": one.problems[what]} if what in one.problems else one.figures.get((what, threads), {}).get(number)
            if figures:
                kept[f"{one.engine} {one.label}"] = figures
        self.rounds[self.name(what, threads, number)] = kept
        self.save()


def play(contestants, what, threads, title, number, say):
    for one in in_turns(contestants):
        try:
            figures = one.run(what, threads)
        except Failed as error:
            one.problems[what] = str(error)
            say(f"{what}, t{threads}: {one.engine} {one.label} is left out: {error}")
            continue
        one.figures.setdefault((what, threads), {})[number] = figures
        say(f"{what}, t{threads}, {title}: {one.engine} {one.label}: {figures['speed']:.1f} tokens/s")


def due(contestants, what, threads, number, rounds, before):
    """Who takes a turn in round `number`: everyone, then those that may still be the best, then those of unsteady pairs."""
    ready = [one for one in contestants if what not in one.problems and (what == PROMPT or not one.tier)]
    if number == 0:
        return [one for one in ready if all(keeps_up(one, contestants, what, count, KEEPS_UP_BEFORE) for count in before)]
    if number < rounds:
        def good_before(one):  # one bad figure does not count
            return number <= 2 and before and all(keeps_up(one, contestants, what, count, KEEPS_UP) for count in before)
        return [one for one in ready if one.speeds(what, threads)
                and (keeps_up(one, contestants, what, threads, KEEPS_UP) or good_before(one))]
    unsteady = [pair for pair in judged_pairs(contestants, what, threads) if spread(ratios(*pair, what, threads)) > STEADY]
    return [one for one in ready if any(one in pair for pair in unsteady)]


def measure(contestants, threads, rounds, journal, say, all_stay=False):
    """`rounds`: by what is measured; unsteady pairs take up to as many again. `all_stay`: nobody is left out for being slow."""
    for what in rounds:
        for place, count in enumerate(threads):
            for number in range(2 * rounds[what]):
                if journal.replay(contestants, what, count, number):
                    continue
                if all_stay and number < rounds[what]:
                    playing = [one for one in contestants if what not in one.problems and (what == PROMPT or not one.tier)]
                else:
                    playing = due(contestants, what, count, number, rounds[what], threads[:place])
                if not playing or journal.ended:
                    break
                title = f"round {number + 1} of {rounds[what]}" if number < rounds[what] else f"repeated, round {number + 1}"
                play(playing, what, count, title, number, say)
                journal.keep(contestants, what, count, number)
    journal.ended = True
    journal.save()
