"""Quality beside size and speed: points, who dominates whom, fronts, tables and the picture. Standard library only."""

import html
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

from turns import GENERATE, OURS, PROMPT

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "experiments"))
from study import markdown_table, place_label  # noqa: E402  pylint: disable=wrong-import-position

MEASURES = {"kl": "divergence", "excess": "loss"}  # both are the less the better
DRAWN = 0.0005  # nats: the least divergence of the picture's axis, which is logarithmic
COLORS = {OURS: "#0b6fb8", "llama.cpp": "#c2410c", "ik_llama.cpp": "#a16207"}


@dataclass
class Point:
    """A quantized model: what it weighs, loses, and how fast it runs."""

    engine: str
    name: str
    bytes: int
    block_bits: float  # per weight of the linear layers in the blocks
    excess: float  # nats per token above the source's loss
    kl: float
    top1: float
    speeds: dict = field(default_factory=dict)  # (what, threads) -> tokens per second

    @property
    def label(self):
        """Without settings."""
        return ":".join(self.name.split(":")[:2])


def point_of(row, source, engine, name):
    """A finished row of `twofold compare`."""
    score = row["score"]
    return Point(engine, name, row["bytes"], row["bits_per_weight"], score["nats_per_token"] - source["score"]["nats_per_token"],
                 score["kl_mean"], score["top1_agreement"])


def megabytes(count):
    """Three digits after the point for what is small."""
    return f"{count / 1e6:.{2 if count >= 10e6 else 3}f}"


def dominates(one, other, measure):
    """At most as many bytes, at most as much lost, and at least as fast wherever the other was timed."""
    return (one.bytes <= other.bytes and getattr(one, measure) <= getattr(other, measure)
            and all(one.speeds.get(key, 0) >= speed for key, speed in other.speeds.items() if speed))


def undominated(points, by):
    """(point of `points`, measures by which no point of `by` dominates it)."""
    found = [(one, [measure for measure in MEASURES if not any(dominates(other, one, measure) for other in by)]) for one in points]
    return [(one, measures) for one, measures in found if measures]


def front(points, cost, measure="kl"):
    """By rising cost: those than which none costs as little and loses as little."""
    found = []
    for one in sorted(points, key=lambda one: (cost(one), getattr(one, measure))):
        if not found or getattr(one, measure) < getattr(found[-1], measure):
            found.append(one)
    return found


def best_of_ours(one, ours, measure):
    """The point of ours that loses least in at most as many bytes; None if all are larger."""
    return min((other for other in ours if other.bytes <= one.bytes), key=lambda other: getattr(other, measure), default=None)


def verdict_lines(points, source_bytes):
    """A line for every rival that none of ours dominates, and one that counts."""
    ours = [one for one in points if one.engine == OURS]
    rivals = [one for one in points if one.engine != OURS]
    left = undominated(rivals, ours)
    lines = [f"{len(rivals) - len(left)} of {len(rivals)} files of the peers are dominated by divergence and by loss: a file of ours is no larger, "
             f"no worse{' and nowhere slower' if any(any(one.speeds.values()) for one in points) else ''}."]
    if left:
        lines += ["", "Not dominated:", ""]
    for one, measures in sorted(left, key=lambda pair: pair[0].bytes):
        parts = []
        for measure in measures:
            best = best_of_ours(one, ours, measure)
            beside = f"{best.label} has {getattr(best, measure):.4f} in {megabytes(best.bytes)} MB" if best else "all of ours are larger"
            if best and getattr(best, measure) <= getattr(one, measure):
                beside += " and is slower"
            parts.append(f"by {MEASURES[measure]}, {getattr(one, measure):.4f} nats, where {beside}")
        larger = ", more than the source" if one.bytes > source_bytes else ""
        lines.append(f"- {one.engine} {one.name} ({megabytes(one.bytes)} MB{larger}): {'; '.join(parts)}")
    return "\n".join(lines)


def table(points, threads=()):
    """By bytes. The last column: of the points that dominate by divergence the best."""
    header = ["program", "type, or row of `twofold compare`", "MB", "bits per weight of the blocks", "loss above the source", "KL", "same top 1"]
    header += [f"{what}, t{count}" for what in (GENERATE, PROMPT) for count in threads] + ["dominated by"]
    leaders, rows = front(points, lambda one: one.bytes), []
    labels = [f"{one.engine} {one.label}" for one in points]
    for one in sorted(points, key=lambda one: (one.bytes, one.kl)):
        speeds = [one.speeds.get((what, count)) for what in (GENERATE, PROMPT) for count in threads]
        best = min((other for other in points if dominates(other, one, "kl") and other is not one), key=lambda other: other.kl, default=None)
        shown = best is not None and not any(one is other for other in leaders)
        dominating = (f"{best.engine} {best.label}" if labels.count(f"{best.engine} {best.label}") == 1 else f"{best.engine} {best.name}") if shown else ""
        rows.append([one.engine, f"`{one.name}`", megabytes(one.bytes), f"{one.block_bits:.2f}", f"{one.excess:+.4f}", f"{one.kl:.4f}",
                     f"{100 * one.top1:.1f} %", *(f"{speed:.1f}" if speed else "-" for speed in speeds), dominating])
    return markdown_table(header, rows)


class _Panel:
    """One of the picture's: cost across, divergence upwards by its logarithm."""

    def __init__(self, left, width, y_range, costs):
        self.left, self.right, self.top, self.bottom = left, left + width, 44, 400
        self.x_range, self.y_range = _range(costs), y_range
        self.x_step = _step(*self.x_range)
        self.taken = [(0, 0, left, 1000), (self.right, 0, 10000, 1000), (0, 0, 10000, self.top), (0, self.bottom, 10000, 1000)]
        self.out = []

    def x(self, value):
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value):
        low, high = map(math.log, self.y_range)
        return self.bottom - (math.log(value) - low) / (high - low) * (self.bottom - self.top)

    def line(self, x1, y1, x2, y2, stroke):
        self.out.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {stroke}/>')

    def text(self, x, y, text, more=""):
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" {more}>{html.escape(text)}</text>')

    def frame(self, title, x_label, y_label):
        for number in range(math.ceil(self.x_range[0] / self.x_step), math.floor(self.x_range[1] / self.x_step) + 1):
            x = self.x(number * self.x_step)
            self.line(x, self.top, x, self.bottom, 'stroke="#eee"')
            self.text(x, self.bottom + 18, f"{number * self.x_step:g}", 'text-anchor="middle"')
        for power in range(-4, 3):
            for digit in (1, 2, 5):
                value = digit * 10.0 ** power
                if self.y_range[0] <= value <= self.y_range[1]:
                    self.line(self.left, self.y(value), self.right, self.y(value), 'stroke="#eee"')
                    self.text(self.left - 6, self.y(value) + 4, f"{value:g}", 'text-anchor="end"')
        middle = (self.top + self.bottom) / 2
        self.text(self.left, 28, title, 'font-size="14"')
        self.text((self.left + self.right) / 2, self.bottom + 38, x_label, 'text-anchor="middle"')
        self.text(self.left - 52, middle, y_label, f'text-anchor="middle" transform="rotate(-90 {self.left - 52:.1f} {middle:.1f})"')

    def draw(self, points, cost, named):
        """`named`: the points that get a label; the others are small."""
        spots = [(self.x(cost(one)), self.y(max(one.kl, DRAWN)), one) for one in points]
        self.taken += [(x - 5, y - 5, x + 5, y + 5) for x, y, _ in spots]
        for x, y, one in spots:
            big = any(one is other for other in named)
            title = html.escape(f"{one.engine} {one.name}, KL {one.kl:.4f}")
            self.out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4.5 if big else 2.5}" fill="{COLORS[one.engine]}" '
                            f'fill-opacity="{0.85 if big else 0.5}"><title>{title}</title></circle>')
        for x, y, one in sorted(spots, key=lambda spot: spot[1]):
            if any(one is other for other in named):
                text_x, text_y, anchor = place_label(x, y, one.label, self.taken)
                self.text(text_x, text_y, one.label, f'text-anchor="{anchor}" font-size="10" fill="{COLORS[one.engine]}"')

    def stairs(self, points, cost, color):
        """A front: the best that can be had at a cost."""
        path = [(self.x(cost(one)), self.y(max(one.kl, DRAWN))) for one in points]
        path = path[:1] + [place for before, after in zip(path, path[1:]) for place in ((after[0], before[1]), after)]
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
        self.out.append(f'<polyline points="{text}" fill="none" stroke="{color}" stroke-opacity="0.6" stroke-width="1.5"/>')


def _range(values):
    pad = 0.06 * (max(values) - min(values)) or 1
    return min(values) - pad, max(values) + pad


def _step(low, high):
    wide = (high - low) / 6
    unit = 10 ** math.floor(math.log10(wide))
    return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= wide)


def _teams(points):
    """Ours, and the peers together, each with the colour of its front."""
    return [([one for one in points if one.engine == OURS], COLORS[OURS]), ([one for one in points if one.engine != OURS], "#c2410c")]


def _draw_panel(panel, labels, points, cost, dear, named):
    """`dear`: 1 where cost is a price, -1 where it is worth having."""
    panel.frame(*labels)
    for team, color in _teams(points):
        panel.stairs(front(team, lambda one: dear * cost(one)), cost, color)
    panel.draw(points, cost, named)
    return panel.out


SPEEDS = {GENERATE: "generating", PROMPT: "prompt"}


def write_picture(path, title, points, threads=2):
    """An SVG: divergence by size, and by tokens per second for what was timed. Labels: all peers, and our fronts."""
    size = lambda one: one.bytes / 1e6
    panels = [(lambda one: one.speeds[GENERATE, threads], GENERATE), (lambda one: one.speeds[PROMPT, threads], PROMPT)]
    panels = [(speed, SPEEDS[what], [one for one in points if one.speeds.get((what, threads))]) for speed, what in panels]
    panels = [panel for panel in panels if panel[-1]]
    ours = [one for one in points if one.engine == OURS]
    named = [one for one in points if one.engine != OURS] + front(ours, size)
    for speed, _, timed in panels:
        named += front([one for one in timed if one.engine == OURS], lambda one, speed=speed: -speed(one))
    wide, gap = 560, 80
    width = gap + (wide + gap) * (1 + len(panels)) - 50
    values = [max(one.kl, DRAWN) for one in points]
    y_range, y_label = (min(values) / 1.25, max(values) * 1.25), "KL divergence from the source, nats"
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 470" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="470" fill="white"/>']
    out += _draw_panel(_Panel(gap - 15, wide, y_range, list(map(size, points))), (title, "MB of the whole model", y_label), points, size, 1, named)
    for place, (speed, what, timed) in enumerate(panels, 1):
        panel = _Panel(gap - 15 + place * (wide + gap - 15), wide, y_range, list(map(speed, timed)))
        labels = (f"by speed, {what}, {threads} thread{'s' if threads > 1 else ''}", f"tokens per second, {what}", y_label)
        out += _draw_panel(panel, labels, timed, speed, -1, named)
    for place, (engine, color) in enumerate(COLORS.items()):
        out.append(f'<circle cx="{gap + 120 * place}" cy="458" r="5" fill="{color}"/><text x="{gap + 120 * place + 10}" y="462">{engine}</text>')
    path.write_text("\n".join(out + ["</svg>"]) + "\n")
