"""The comparison of speeds without its peers: files, parsing, ratios, tables.   python3 peers_test.py PROGRAM"""

import dataclasses
import json
import random
import statistics
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

from experiments_test import ROOT, table_rows

sys.path.insert(0, str(ROOT / "bench/peers"))
sys.dont_write_bytecode = True
PROGRAM = None

import character_gguf  # noqa: E402
import contestants  # noqa: E402
import frontier  # noqa: E402
import gguf_file  # noqa: E402
import peer_programs  # noqa: E402
import turns  # noqa: E402
import verdicts  # noqa: E402


def load_script(name):
    import importlib.machinery
    import importlib.util
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "bench/peers" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[name] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


speed = load_script("speed")
quality = load_script("quality")


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.work = Path(folder.name)

    def test_a_written_model_is_one_that_twofold_opens(self):
        for tied in (False, True):
            shape = gguf_file.Shape(hidden=40, layers=2, heads=4, kv_heads=2, ffn=88, vocab=300, tied=tied)
            path = self.work / f"tied-{tied}.gguf"
            gguf_file.write_model(path, shape)
            result = subprocess.run([PROGRAM, "inspect", path, "--json"], capture_output=True, text=True, check=True)
            found = json.loads(result.stdout)
            weights = sum(cols * rows for _, cols, rows in shape.tensors() if rows)
            self.assertEqual(sum(matrix["rows"] * matrix["cols"] for matrix in found["matrices"]), weights)

    def test_bytes_per_token_leave_out_a_table_that_is_not_the_head(self):
        for tied in (False, True):
            shape = gguf_file.Shape(hidden=32, layers=3, heads=4, kv_heads=2, ffn=96, vocab=300, tied=tied)
            path = self.work / "model.gguf"
            gguf_file.write_model(path, shape)
            read = [(cols, rows) for name, cols, rows in shape.tensors() if tied or name != "token_embd.weight"]
            self.assertEqual(gguf_file.bytes_per_token(path), sum(2 * cols * rows if rows else 4 * cols for cols, rows in read))

    def test_repeated_layers_make_the_model_of_more_layers(self):
        few = gguf_file.Shape(hidden=40, layers=2, heads=4, kv_heads=2, ffn=88, vocab=300)
        whole = dataclasses.replace(few, layers=5)
        for name, shape in (("few", few), ("whole", whole)):
            gguf_file.write_model(self.work / name, shape)
        gguf_file.repeat_layers(self.work / "few", self.work / "repeated.gguf", 5)
        self.assertEqual(gguf_file.bytes_per_token(self.work / "repeated.gguf"), gguf_file.bytes_per_token(self.work / "whole"))
        result = subprocess.run([PROGRAM, "inspect", self.work / "repeated.gguf", "--json"], capture_output=True, text=True, check=True)
        found = {matrix["name"]: (matrix["rows"], matrix["cols"]) for matrix in json.loads(result.stdout)["matrices"]}
        self.assertEqual(len(found), 2 + 7 * 5)
        self.assertEqual(found["model.layers.4.mlp.down_proj.weight"], (40, 88))

    def test_random_codes_take_the_place_of_the_large_matrices(self):
        shape = gguf_file.Shape(hidden=256, layers=1, heads=4, kv_heads=2, ffn=512, vocab=512)
        gguf_file.write_model(self.work / "f16", shape)
        gguf_file.random_codes(self.work / "f16", self.work / "coded", "IQ2_KT")
        # Attention of queries and keys, gate and up: rows of 256; down: rows of 512.
        rows = 256 + 128 + 512 + 512
        saved = rows * (512 - 72) + 256 * (1024 - 140)
        difference = gguf_file.bytes_per_token(self.work / "f16") - gguf_file.bytes_per_token(self.work / "coded")
        self.assertEqual(difference, saved)

    def test_the_named_shape_has_as_many_weights_as_its_name(self):
        for name, weights in (("1.1b", 1.1e9), ("7b", 6.7e9), ("135m", 135e6)):
            count = sum(cols * (rows or 1) for _, cols, rows in gguf_file.SHAPES[name].tensors())
            self.assertAlmostEqual(count / weights, 1, delta=0.01, msg=name)

    def test_types_and_bytes_of_the_blocks_are_those_in_the_file(self):
        shape = gguf_file.Shape(hidden=256, layers=2, heads=4, kv_heads=2, ffn=512, vocab=512)
        gguf_file.write_model(self.work / "f16", shape)
        matrices = [(cols, rows) for name, cols, rows in shape.tensors() if name.startswith("blk.") and rows]
        self.assertEqual(gguf_file.block_bytes(self.work / "f16"), sum(2 * cols * rows for cols, rows in matrices))
        self.assertEqual(gguf_file.type_numbers(self.work / "f16"), {0, 1})
        gguf_file.random_codes(self.work / "f16", self.work / "coded", "IQ3_KT")
        self.assertEqual(gguf_file.type_numbers(self.work / "coded"), {0, 1, 154})
        saved = gguf_file.bytes_per_token(self.work / "f16") - gguf_file.bytes_per_token(self.work / "coded")
        self.assertEqual(gguf_file.block_bytes(self.work / "f16") - gguf_file.block_bytes(self.work / "coded"), saved)

    def test_the_character_model_is_the_same_as_a_file(self):
        folder, path, ids = ROOT / "models/shakespeare-char", self.work / "characters.gguf", self.work / "ids.txt"
        character_gguf.write(folder, path)
        ids.write_text("18 47 56 57 58 1 15\n1 0 64\n")
        logits = []
        for model in (folder, path):
            result = subprocess.run([PROGRAM, "logits", model, "--token-ids", ids, "--json", "-", "--quiet"], capture_output=True, text=True, check=True)
            logits.append([value for row in json.loads(result.stdout)["logits"] for value in row])
        self.assertEqual(len(logits[0]), 2 * 65)
        self.assertGreater(max(logits[0]) - min(logits[0]), 5)
        self.assertLess(max(abs(one - other) for one, other in zip(*logits)), 0.02)  # GELU: exact there, by its tanh here
        biases = 9 * 128 + 4 * (384 + 512 + 2 * 128)
        self.assertEqual(character_gguf.bias_bytes(path), 4 * biases)
        self.assertEqual(gguf_file.block_bytes(path), 4 * 4 * 12 * 128 * 128)

    def test_something_else_than_gguf_is_refused_by_name(self):
        path = self.work / "model.gguf"
        path.write_bytes(b"PK" * 20)
        with self.assertRaisesRegex(ValueError, "model.gguf"):
            gguf_file.bytes_per_token(path)


def finished(engine, name, bits, prompt=(), generate=(), tier="", isa=None, threads=1):
    one = turns.Contestant(engine, name, bits, tier=tier)
    for what, speeds in (("prompt", prompt), ("generate", generate)):
        if speeds:
            one.figures[what, threads] = {number: {"speed": value, "bytes_per_token": 2e6, "isa": isa} for number, value in enumerate(speeds)}
    return one


def program(path, body):
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    path.chmod(0o755)


class Ratios(unittest.TestCase):
    def test_llama_bench_gives_the_speed_of_one_test(self):
        test = {"n_prompt": 512, "n_gen": 0, "avg_ts": 54.25, "stddev_ts": 0}
        self.assertEqual(peer_programs.parse_bench(json.dumps([test])), 54.25)
        for text in ("", "usage: llama-bench", '[{"n_gen": 64}]', "[1]", "[]", json.dumps([test, test])):
            with self.assertRaises(peer_programs.PeerError):
                peer_programs.parse_bench(text)

    def test_why_a_program_failed_is_one_line(self):
        log = "[ 3%] Building\ncode.cpp: In function\ncode.cpp:7:1: error: no such thing\n  7 | thing\nmake: *** [all] Error 2\n"
        self.assertEqual(peer_programs.reason(log), "code.cpp:7:1: error: no such thing")
        self.assertEqual(peer_programs.reason("-- Found OpenMP\n\nIllegal instruction\n"), "Illegal instruction")
        self.assertEqual(peer_programs.reason("cc -Werror=all -c a.c\nKilled"), "Killed")
        self.assertEqual(peer_programs.reason(""), "it wrote nothing")

    def test_twofold_bench_gives_the_speed_of_one_test(self):
        row = {"format": "r16-b3", "bytes_per_token": 5, "isa": "avx2", "bytes_per_second": 9, "bandwidth_share": 0.5, "peak_share": 0.1}
        self.assertEqual(contestants.figures_of({"rows": [{**row, "tokens_per_second": 90.0, "prompt": 512}]}), {**row, "speed": 90.0})

    def test_a_ratio_is_the_median_of_the_rounds_own(self):
        a = finished("twofold", "a", 4, generate=(40, 20, 90))  # the machine was slow in the second round, for both
        b = finished("llama.cpp", "b", 4, generate=(20, 10, 60))
        self.assertEqual(statistics.median(turns.ratios(a, b, "generate", 1)), 2)
        self.assertEqual(turns.ratios(a, b, "prompt", 1), [])
        self.assertEqual(turns.ratios(a, b, "generate", 2), [])

    def test_rivals_have_as_many_bits_when_generating_and_any_for_prompts(self):
        four = finished("llama.cpp", "Q4_0", 4, prompt=(50,), generate=(27,))
        two = finished("llama.cpp", "Q2_K", 2, prompt=(29,), generate=(25,))
        ternary = finished("llama.cpp", "TQ2_0", 2, prompt=(90,), generate=(37,))
        other = finished("ik_llama.cpp", "Q2_K -rtr 1", 2, prompt=(68,), generate=(31,))
        everyone = [four, two, ternary, other]
        ours = {bits: finished("twofold", "ours", bits, prompt=(99,), generate=(60,)) for bits in (2, 3)}
        self.assertIs(turns.rival(everyone, ours[2], "llama.cpp", "generate", 1), two)
        self.assertIs(turns.rival(everyone, ours[2], "llama.cpp", "prompt", 1), four)
        self.assertIs(turns.rival(everyone, ours[2], "ik_llama.cpp", "generate", 1), other)
        self.assertIsNone(turns.rival(everyone, ours[3], "ik_llama.cpp", "generate", 1))
        other.problems["prompt"] = "crashed"  # with other threads; what it reached stays
        self.assertIs(turns.rival(everyone, ours[2], "ik_llama.cpp", "generate", 1), other)

    def test_a_rival_is_chosen_by_ratios_of_the_same_rounds(self):
        ours = finished("twofold", "ours", 4, generate=(40, 20, 20))  # the machine was fast in the first round
        best = finished("llama.cpp", "best", 4, generate=(25, 12, 12))
        behind = finished("llama.cpp", "fell behind", 4, generate=(15,))  # 15 is more than the median of the best
        self.assertIs(turns.rival([best, behind], ours, "llama.cpp", "generate", 1), best)

    def test_limits_count_over_ik_and_over_llama_where_it_is_missing(self):
        ours = finished("twofold", "r16-u2-g64", 2, generate=(50, 50, 50))
        ik = finished("ik_llama.cpp", "IQ2_K -rtr 1", 2, generate=(30, 25, 20))
        llama = finished("llama.cpp", "Q2_K", 2, generate=(25, 25, 25))
        verdict, = verdicts.verdicts_of([ours, ik, llama], verdicts.LIMITS)
        self.assertEqual((verdict.judged, verdict.limit, verdict.rivals["ik_llama.cpp"][1], verdict.met), ("ik_llama.cpp", 1.8, 2, True))
        verdict, = verdicts.verdicts_of([ours, llama], verdicts.LIMITS)
        self.assertEqual((verdict.judged, verdict.limit, verdict.rivals["llama.cpp"][1], verdict.met), ("llama.cpp", 2.15, 2, False))
        self.assertIn("MISSED", verdict.line())
        self.assertTrue(verdicts.verdicts_of([ours, llama], {})[0].met)  # without limits nothing is missed

    def test_prompts_of_the_tier_below_amx_are_held_against_the_peers(self):
        best = finished("twofold", "r16-b3", 3, prompt=(400,), generate=(40,), isa="amx")
        below = finished("twofold", "r16-b3", 3, prompt=(100,), tier="avx512vnni", isa="avx512vnni")
        ik = finished("ik_llama.cpp", "IQ3_K", 3, prompt=(80,), generate=(20,))
        found = verdicts.verdicts_of([best, below, ik], verdicts.LIMITS)
        self.assertEqual([(one.what, one.ours, one.limit) for one in found],
                         [("generate", best, 1.6), ("prompt", best, None), ("prompt", below, 1.1)])
        self.assertEqual(list(turns.judged_pairs([best, below, ik], "prompt", 1)), [(below, ik)])
        own, = verdicts.own_verdicts([best, below, ik])
        self.assertEqual((own.rivals["twofold"], own.limit, own.met), ((below, 4), 3.0, True))

    def test_trellises_have_limits_over_the_peer_s_and_over_plain_codes(self):
        ours = finished("twofold", "r16-tr2", 2, generate=(40,), prompt=(95,), threads=2)
        plain = finished("twofold", "r16-u2-g64", 2, generate=(50,), prompt=(100,), threads=2)
        ik = finished("ik_llama.cpp", "IQ2_KT -rtr 1", 2, generate=(10,), threads=2)
        found = verdicts.trellis_verdicts([ours, plain, ik])
        self.assertEqual([(one.what, one.judged, list(one.rivals.values())[0][1], one.met) for one in found],
                         [("generate", "ik_llama.cpp", 4, True), ("prompt", "twofold", 0.95, True)])
        self.assertEqual(len(verdicts.own_table(found).splitlines()), 3)

    def test_planes_are_held_against_integers(self):
        planes, integers = (finished("twofold", name, 3, generate=values) for name, values in (("r16-b3", (30,)), ("r16-u3", (40,))))
        own, = verdicts.own_verdicts([planes, integers])
        self.assertEqual((own.rivals["twofold"][1], own.met), (0.75, False))


def point(engine, name, megabytes, kl, excess=None, **speeds):
    known = {("generate", int(key[1:])): value for key, value in speeds.items()}
    return frontier.Point(engine, name, int(1e6 * megabytes), 8.0 * megabytes / 100, kl if excess is None else excess, kl, 0.9, known)


class Frontier(unittest.TestCase):
    def setUp(self):
        self.ours = [point("twofold", "trellis:4:explore=weights", 84, 0.05), point("twofold", "rtn:4", 84, 0.6), point("twofold", "gptq:5", 98, 0.02)]
        self.level = point("llama.cpp", "Q4_0", 84, 0.05)  # as large, as bad
        self.better = point("ik_llama.cpp", "IQ4_K", 97, 0.03)
        self.smaller = point("llama.cpp", "IQ2_XS", 80, 0.4)
        self.lucky = point("llama.cpp", "Q3_K_M", 99, 0.09, excess=0.001)

    def test_a_rival_is_dominated_by_one_that_is_no_larger_and_loses_no_more(self):
        found = frontier.undominated([self.level, self.better, self.smaller, self.lucky], self.ours)
        self.assertEqual(found, [(self.better, ["kl", "excess"]), (self.smaller, ["kl", "excess"]), (self.lucky, ["excess"])])

    def test_a_faster_rival_is_not_dominated(self):
        ours = point("twofold", "trellis:4", 80, 0.05, t1=20, t2=50)
        slower, faster = (point("llama.cpp", "Q4_0", 90, 0.06, t1=20, t2=speed) for speed in (50, 51))
        self.assertEqual(frontier.undominated([slower, faster], [ours]), [(faster, ["kl", "excess"])])
        self.assertIn("trellis:4 has 0.0500 in 80.00 MB and is slower", frontier.verdict_lines([ours, slower, faster], 1))
        rows = frontier.table([ours, slower, faster]).splitlines()[2:]
        self.assertEqual([line.split("|")[-2].strip() for line in rows], ["", "twofold trellis:4", ""])

    def test_every_rival_that_is_not_dominated_is_named_beside_our_best(self):
        text = frontier.verdict_lines([*self.ours, self.level, self.better, self.smaller, self.lucky], 98362432)
        self.assertIn("1 of 4 files of the peers", text)
        self.assertEqual([line.split(" (")[0] for line in text.splitlines() if line.startswith("- ")],
                         ["- llama.cpp IQ2_XS", "- ik_llama.cpp IQ4_K", "- llama.cpp Q3_K_M"])
        self.assertIn("by divergence, 0.0300 nats, where trellis:4 has 0.0500 in 84.00 MB", text)
        self.assertIn("by divergence, 0.4000 nats, where all of ours are larger", text)
        self.assertIn("Q3_K_M (99.00 MB, more than the source): by loss", text)
        self.assertNotIn("Not dominated", frontier.verdict_lines([*self.ours, self.level], 98362432))

    def test_fronts_are_the_points_that_brute_force_finds(self):
        draw = random.Random(3)
        points = [point("twofold", str(number), draw.randrange(20), draw.randrange(1, 20) / 10) for number in range(60)]
        costs = {"bytes": lambda one: one.bytes, "speed": lambda one: -one.block_bits}
        for name, cost in costs.items():
            leaders = frontier.front(points, cost)
            self.assertEqual([cost(one) for one in leaders], sorted({cost(one) for one in leaders}), msg=name)
            for one in points:
                beaten = any(cost(other) <= cost(one) and other.kl <= one.kl and (cost(other), other.kl) != (cost(one), one.kl) for other in points)
                self.assertEqual(any((cost(one), one.kl) == (cost(other), other.kl) for other in leaders), not beaten, msg=name)

    def test_the_table_has_speeds_where_there_are_any_and_says_what_is_better(self):
        timed = point("twofold", "pot:4", 90, 0.3, t2=123.4)
        rows = table_rows(frontier.table([*self.ours, timed, self.level], (2,)))
        self.assertEqual([(row[1], row[7], "".join(row[9:])) for row in rows],
                         [("`trellis:4:explore=weights`", "-", ""), ("`Q4_0`", "-", "twofold trellis:4"), ("`rtn:4`", "-", "twofold trellis:4"),
                          ("`pot:4`", "123.4", ""), ("`gptq:5`", "-", "")])
        self.assertEqual(frontier.table(self.ours).splitlines()[0].count("|"), 9)

    def test_the_picture_has_a_panel_of_speeds_where_there_are_any(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path, points = Path(folder.name) / "picture.svg", [*self.ours, self.level, self.better]
        for timed in ((), ("generate",), ("generate", "prompt")):
            speeds = len(timed)
            for one in points:
                one.speeds = {(what, 2): 100 + one.bytes / 1e6 for what in timed}
            frontier.write_picture(path, "a <model>", points)
            root = ElementTree.parse(path).getroot()
            texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
            self.assertEqual(("tokens per second, generating" in texts) + ("tokens per second, prompt" in texts), speeds)
            self.assertEqual({name: texts.count(name) for name in ("trellis:4", "rtn:4", "Q4_0", "IQ4_K")},
                             {"trellis:4": 1 + speeds, "rtn:4": 0, "Q4_0": 1 + speeds, "IQ4_K": 1 + speeds})
            self.assertEqual(len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))), 2 + 2 * speeds)


class Turns(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "journal.json"
        self.ran = []

    def contestant(self, engine, name, bits, speeds=(), fails=False, tier=""):
        """Its speeds by round, the last one for all further rounds; 1 if there are none."""
        left = {}

        def run(what, threads):
            self.ran.append((what, threads, name))
            if fails:
                raise turns.Failed("Illegal instruction")
            values = left.setdefault((what, threads), list(speeds) or [1.0])
            return {"speed": values.pop(0) if len(values) > 1 else values[0], "bytes_per_token": 1}
        return turns.Contestant(engine, name, bits, run, tier)

    def measure(self, everyone, threads, rounds, journal=None):
        said = []
        turns.measure(everyone, threads, rounds, journal or turns.Journal(self.path, ["a run"]), said.append)
        return said

    def test_contestants_run_by_turns_and_a_failing_one_is_left_out(self):
        everyone = [self.contestant("twofold", "t2", 2), self.contestant("twofold", "t4", 4), self.contestant("twofold", "u4", 4),
                    self.contestant("ik_llama.cpp", "i4", 4), self.contestant("llama.cpp", "l4", 4),
                    self.contestant("llama.cpp", "x4", 4, fails=True), self.contestant("twofold", "tier", 2, tier="avx2")]
        said = self.measure(everyone, [1, 2], {"generate": 2, "prompt": 1})
        turn = ["t4", "l4", "i4", "u4", "t2"]
        expected = [("generate", 1, name) for name in ["t4", "l4", "i4", "u4", "x4", "t2"] + turn]
        expected += [("generate", 2, name) for name in 2 * turn]
        self.assertEqual(self.ran, expected + [("prompt", 1, name) for name in ["t4", "l4", "i4", "u4", "x4", "t2", "tier"]] +
                         [("prompt", 2, name) for name in turn + ["tier"]])
        self.assertIn("generate, t1: llama.cpp x4 is left out: Illegal instruction", said)
        self.assertEqual({key: len(rounds) for key, rounds in everyone[0].figures.items()},
                         {("generate", 1): 2, ("generate", 2): 2, ("prompt", 1): 1, ("prompt", 2): 1})

    def test_types_that_fall_behind_take_no_further_turns(self):
        everyone = [self.contestant("twofold", "slow of ours", 4, [1]), self.contestant("ik_llama.cpp", "best", 4, [100]),
                    self.contestant("ik_llama.cpp", "near", 4, [90]), self.contestant("ik_llama.cpp", "behind", 4, [80]),
                    self.contestant("ik_llama.cpp", "far behind", 4, [50]), self.contestant("llama.cpp", "other engine", 4, [10]),
                    self.contestant("ik_llama.cpp", "other bits", 2, [20])]
        self.measure(everyone, [1, 2], {"generate": 2})
        counts = {one.name: [sum(name == one.name and threads == count for _, threads, name in self.ran) for count in (1, 2)] for one in everyone}
        self.assertEqual(counts, {"slow of ours": [2, 2], "best": [2, 2], "near": [2, 2], "behind": [1, 1], "far behind": [1, 0],
                                  "other engine": [2, 2], "other bits": [2, 2]})

    def test_trellises_of_a_peer_stay_though_plain_types_are_faster(self):
        everyone = [self.contestant("ik_llama.cpp", "IQ2_K", 2, [100]), self.contestant("ik_llama.cpp", "IQ2_KT", 2, [20]),
                    self.contestant("ik_llama.cpp", "IQ2_KT -rtr 1", 2, [10])]
        self.measure(everyone, [1, 2], {"generate": 2})
        counts = {one.name: [sum(name == one.name and threads == count for _, threads, name in self.ran) for count in (1, 2)] for one in everyone}
        self.assertEqual(counts, {"IQ2_K": [2, 2], "IQ2_KT": [2, 2], "IQ2_KT -rtr 1": [1, 0]})

    def test_all_may_stay_however_slow(self):
        everyone = [self.contestant("ik_llama.cpp", "best", 4, [100]), self.contestant("ik_llama.cpp", "slow", 4, [1])]
        turns.measure(everyone, [1, 2], {"generate": 2}, turns.Journal(self.path, ["a run"]), lambda _: None, all_stay=True)
        self.assertEqual([len(one.speeds("generate", count)) for one in everyone for count in (1, 2)], [2, 2, 2, 2])

    def test_one_bad_figure_does_not_stop_what_kept_up_with_other_threads(self):
        steady = self.contestant("ik_llama.cpp", "best", 4, [100])
        disturbed = self.contestant("ik_llama.cpp", "disturbed", 4)
        speeds = {1: [99], 2: [5, 99]}

        def run(what, threads):
            self.ran.append((what, threads, "disturbed"))
            values = speeds[threads]
            return {"speed": values.pop(0) if len(values) > 1 else values[0], "bytes_per_token": 1}
        disturbed.run = run
        self.measure([steady, disturbed], [1, 2], {"generate": 3})
        self.assertEqual([sum(one == ("generate", count, "disturbed") for one in self.ran) for count in (1, 2)], [3, 3])
        self.assertEqual(disturbed.speeds("generate", 2), [5, 99, 99])

    def test_unsteady_pairs_take_more_turns_and_steady_ones_do_not(self):
        everyone = [self.contestant("twofold", "unsteady", 4, [10, 20, 10, 20, 10, 20]), self.contestant("ik_llama.cpp", "i4", 4, [10]),
                    self.contestant("twofold", "steady", 2, [30]), self.contestant("ik_llama.cpp", "i2", 2, [20])]
        self.measure(everyone, [1], {"generate": 3})
        counts = {one.name: sum(name == one.name for _, _, name in self.ran) for one in everyone}
        self.assertEqual(counts, {"unsteady": 6, "i4": 6, "steady": 3, "i2": 3})

    def test_an_interrupted_run_goes_on_with_the_round_that_did_not_end(self):
        def contestants(interrupted):
            everyone = [self.contestant("twofold", "u4", 4, [30, 31]), self.contestant("ik_llama.cpp", "i4", 4, [20, 21]),
                        self.contestant("llama.cpp", "l4", 4, fails=True)]
            if interrupted:
                def stop(what, threads):
                    if (what, threads) == ("generate", 2):
                        raise KeyboardInterrupt
                    return {"speed": 20.0, "bytes_per_token": 1}
                everyone[1].run = stop
            return everyone
        with self.assertRaises(KeyboardInterrupt):
            self.measure(contestants(True), [1, 2], {"generate": 1})
        self.ran.clear()
        again = contestants(False)
        journal = turns.Journal(self.path, ["a run"])
        self.assertTrue(journal.load())
        self.measure(again, [1, 2], {"generate": 1}, journal)
        self.assertEqual(self.ran, [("generate", 2, "u4"), ("generate", 2, "i4")])
        self.assertEqual((again[0].median("generate", 1), again[1].median("generate", 1), again[2].problems), (30, 20, {"generate": "Illegal instruction"}))
        for key, ended, known in ((["a run"], False, False), (["another"], False, False), (["a run"], True, True)):
            self.assertEqual(turns.Journal(self.path, key).load(ended), known, msg=(key, ended))

    def test_the_report_shows_both_figures_where_we_win_and_where_we_lose(self):
        args = SimpleNamespace(model="1.1b", rounds=1, prompt_rounds=1, threads=[1], bits=[], only=[])
        everyone = [finished("twofold", "r16-u4-g128", 4, prompt=(50,), generate=(45,), isa="avx2"),
                    finished("ik_llama.cpp", "Q4_0 -rtr 1", 4, prompt=(100,), generate=(30,)),
                    turns.Contestant("llama.cpp", "Q4_0", 4, problems={"prompt": "crashed"})]
        found = verdicts.verdicts_of(everyone, verdicts.LIMITS)
        text = speed.report(args, everyone, found, [], ["llama.cpp does not build"])
        rows = [row for row in table_rows(text) if row[0] in ("generate", "prompt")]
        self.assertEqual(rows, [["generate", "1", "r16-u4-g128", "45.0", "Q4_0 -rtr 1", "30.0", "1.50", "-", "-", "-", "1.05 over ik_llama.cpp", "met"],
                                ["prompt", "1", "r16-u4-g128", "50.0", "Q4_0 -rtr 1", "100.0", "0.50", "-", "-", "-",
                                 "1.1 over ik_llama.cpp", "**missed**, slower than ik_llama.cpp"]])
        self.assertIn("1 of 2 limits met; slower than a peer's best in 1 cases.", text)
        self.assertIn("- llama.cpp Q4_0, prompt, did not run: crashed", text)
        self.assertIn("2.0", text)  # megabytes per token

    def test_a_whole_run_with_stand_ins_keeps_what_is_built_and_quantized(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        work = Path(folder.name).resolve()
        model, results, twofold = work / "model.gguf", work / "results.md", work / "twofold"
        gguf_file.write_model(model, gguf_file.Shape(hidden=32, layers=1, heads=4, kv_heads=2, ffn=64, vocab=300))
        row = {"format": "r16-b2", "bytes_per_token": 3000000, "isa": "avx2"}
        rows = [{**row, "tokens_per_second": 90}, {**row, "tokens_per_second": 60}]
        program(twofold, f"""import json, os
if sys.argv[1] == "bench": print(json.dumps(dict(rows=[{rows}["0" in sys.argv[sys.argv.index("--prompt") + 1:][:1]]])))
elif "bcq" in sys.argv: os.mkdir(sys.argv[sys.argv.index("-o") + 1])
else: sys.exit("no such method")""")
        for source in peer_programs.SOURCES:
            built = work / f"build-{source.name}"
            (built / "bin").mkdir(parents=True)
            speeds = {"512": 100, "0": 50 if source.name == "llama.cpp" else 40}
            program(built / "bin/llama-bench", f"import json\nprint(json.dumps([dict(avg_ts={speeds}[sys.argv[sys.argv.index('-p') + 1]])]))")
            program(built / "bin/llama-quantize", """import shutil
if "IQ2_K" in sys.argv: sys.exit("needs an importance matrix")
shutil.copy(sys.argv[2], sys.argv[3])
print(sys.argv[4])""")
            (built / "finished.json").write_text(json.dumps(peer_programs.wanted(source, peer_programs.build_options(source, True))))
        command = [sys.executable, ROOT / "bench/peers/speed", "--model", "smollm2", "--smollm2", model, "--bits", 2, "--threads", 1, "--rounds", 2,
                   "--twofold", twofold, "--work", work, "--results", results, "--no-tiers", "--without-amx"]
        for _ in range(2):
            result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
            self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn("quantizing model.gguf to Q2_K", result.stderr)  # the second run found it
        self.assertIn("ik_llama.cpp does not make IQ2_K", result.stderr)
        text = results.read_text()
        self.assertIn("- twofold rtn --group 64, 2 bits, prompt, did not run: exit status 1: no such method", text)
        self.assertEqual(text.count("<!-- peers-smollm2-"), 1)  # and the processor
        self.assertIn("| generate | 1 | bcq --storage planes, 2 bits | 60.0 | Q2_K | 40.0 | 1.50 | Q2_K | 50.0 | 1.20 |  |  |", text)
        self.assertIn("| prompt | 1 | bcq --storage planes, 2 bits | 90.0 | Q2_K | 100.0 | 0.90 | Q2_K | 100.0 | 0.90 |  | slower than ik_llama.cpp, slower than llama.cpp |", text)

    def test_a_whole_picture_with_stand_ins_goes_on_with_what_is_kept(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        work = Path(folder.name).resolve()
        model, results, twofold, text = work / "model.gguf", work / "results.md", work / "twofold", work / "text.txt"
        gguf_file.write_model(model, gguf_file.Shape(hidden=256, layers=1, heads=4, kv_heads=2, ffn=512, vocab=300))
        text.write_text("a text")
        program(twofold, """import json, pathlib
if sys.argv[1] == "bench":
    print(json.dumps(dict(rows=[dict(tokens_per_second=90, bytes_per_token=1, isa="avx2")])))
    sys.exit()
at = lambda flag: sys.argv.index(flag) if flag in sys.argv else len(sys.argv)
def values(flag):
    found = sys.argv[at(flag) + 1:]
    return found[:next((place for place, word in enumerate(found) if word.startswith("-")), len(found))]
rows = pathlib.Path(values("-o")[0]) / "rows"
rows.mkdir(parents=True, exist_ok=True)
def keep(name, size, kl):
    score = dict(nats_per_token=3 + kl, kl_mean=kl, top1_agreement=0.9)
    row = dict(name=name, bytes=size, bits_per_weight=4.0, error=None, score=score)
    (rows / (name.replace(":", "-") + ".json")).write_text(json.dumps(row))
keep("source", 10**6, 0)
for name in values("--methods"): keep(name, 800000, 0.5)
for file in values("--peer"):
    note = json.loads(pathlib.Path(file + ".peer.json").read_text())
    keep(note["name"], 700000 if "Q2_K" in note["name"] else 900000, 0.6)""")
        for source in peer_programs.SOURCES:
            built = work / f"build-{source.name}"
            (built / "bin").mkdir(parents=True)
            program(built / "bin/llama-bench", "import json\nprint(json.dumps([dict(avg_ts=50)]))")
            program(built / "bin/llama-imatrix", "open(sys.argv[sys.argv.index('-o') + 1], 'w').write('moments')")
            program(built / "bin/llama-quantize", """import shutil
if open(sys.argv[sys.argv.index("--imatrix") + 1]).read() != "moments": sys.exit("no moments")
shutil.copy(sys.argv[4], sys.argv[5])""")
            options = peer_programs.build_options(source, peer_programs.avoids_amx(peer_programs.cpu_flags()))
            (built / "finished.json").write_text(json.dumps(peer_programs.wanted(source, options)))
        command = [sys.executable, ROOT / "bench/peers/quality", "--smollm2", model, "--twofold", twofold, "--work", work, "--results", results,
                   "--calibration", text, "--picture", work / "quality.svg", "--threads", 1, "--rounds", 1]
        for flags in (["--rows", "rtn", "Q2_K", "Q4_0"], ["--speed"], ["--report-only"], ["--report-only", "--no-speed"]):
            result = subprocess.run(list(map(str, [*command, *flags])), capture_output=True, text=True, check=False)
            self.assertEqual(result.returncode, 0, result.stderr)
            written, timed = results.read_text(), flags in (["--speed"], ["--report-only"])
            self.assertEqual(written.count("<!-- quality -->"), 1)
            self.assertIn("1 of 2 files of the peers are dominated", written)
            self.assertIn("- llama.cpp Q2_K (0.700 MB): by divergence, 0.6000 nats, where all of ours are larger; by loss", written)
            self.assertEqual("| `Q4_0` | 0.900 | 4.00 | +0.6000 | 0.6000 | 90.0 % | 50.0 | 50.0 | twofold rtn:4 |" in written, timed)
            self.assertIn("`rtn:2`", written)  # of the character model
            self.assertIn("not scored: `trellis:4:explore=weights`", written)

    def test_amx_is_left_out_in_virtual_machines_that_have_it(self):
        self.assertTrue(peer_programs.avoids_amx({"amx_int8", "hypervisor"}))
        self.assertFalse(peer_programs.avoids_amx({"amx_int8"}))
        self.assertFalse(peer_programs.avoids_amx({"avx2", "hypervisor"}))


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
