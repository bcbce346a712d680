"""Runs both experiments small and checks what they write.   python3 experiments_test.py PROGRAM"""

import importlib.machinery
import importlib.util
import json
import math
import random
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
EXPERIMENTS = ROOT / "experiments"
GOLDEN = ROOT / "tests/data/tiny-models/gpt2"
PROGRAM = None

sys.path.insert(0, str(EXPERIMENTS))
sys.dont_write_bytecode = True


def load(name):
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(EXPERIMENTS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def run(*command):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise AssertionError(f"{command}: {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result.stdout


def loss_of(logits, target):
    """-ln softmax(logits)[target]"""
    top = max(logits)
    return top + math.log(sum(math.exp(value - top) for value in logits)) - logits[target]


def table_rows(markdown):
    rows = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


class Experiment(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.work = Path(folder.name)
        self.results, self.chart = self.work / "results.md", self.work / "chart.svg"
        self.outputs = ["--twofold", PROGRAM, "--results", self.results, "--chart", self.chart]


class PotGpt2(Experiment):
    def setUp(self):
        super().setUp()
        draw = random.Random(7)
        self.ids = [draw.randrange(96) for _ in range(700)]
        self.id_file = self.work / "ids.txt"
        self.id_file.write_text(" ".join(map(str, self.ids)))

    def experiment(self, *more):
        run(EXPERIMENTS / "pot-gpt2", GOLDEN, "--token-ids", self.id_file, *self.outputs, "--predictions", 40, "--ranges", 7, *more)
        return table_rows(self.results.read_text())

    def test_the_source_row_is_the_mean_loss_of_the_last_position_alone(self):
        loss = float(self.experiment("--seed", 5)[0][3].split()[0])
        windows = load("pot-gpt2").windows_of(self.ids, 40, 5)
        prompts, logits_file = self.work / "prompts.txt", self.work / "logits.json"
        prompts.write_text("\n".join(" ".join(map(str, window[:-1])) for window in windows) + "\n")
        run(PROGRAM, "logits", GOLDEN, "--token-ids", prompts, "--json", logits_file)
        logits = json.loads(logits_file.read_text())["logits"]
        losses = [loss_of(row, window[-1]) for window, row in zip(windows, logits, strict=True)]
        self.assertAlmostEqual(loss, sum(losses) / len(losses), delta=1e-4)

    def test_the_loss_is_the_one_of_the_logits_of_the_transformers_library(self):
        study = load("pot-gpt2")
        sequences = json.loads((GOLDEN / "expected.json").read_text())["sequences"]
        window, = (sequence for sequence in sequences if len(sequence["ids"]) == study.WINDOW)
        for target in (0, 41, 95):
            self.id_file.write_text(" ".join(map(str, [*window["ids"], target])))
            result = study.score(study.Program(PROGRAM), GOLDEN, self.id_file)
            self.assertAlmostEqual(result["nats_per_token"], loss_of(window["last_logits"], target), delta=1e-5)
        source = self.experiment()[0]  # one place to draw: every prediction is the last target
        self.assertAlmostEqual(float(source[3].split()[0]), loss_of(window["last_logits"], 95), delta=1e-4)

    def test_every_quantizer_runs_with_float_and_quantized_tables(self):
        rows = self.experiment()
        self.assertEqual(len(rows), 1 + 2 * len(load("pot-gpt2").quantizers([7])))
        divergence = {row[0]: float(row[5]) for row in rows[1:]}
        self.assertLess(divergence["integers [-127, 127], tables float"], divergence["PoT 2^7, eps 0, tables float"])
        self.assertIn("</svg>", self.chart.read_text())

    def test_windows_come_from_the_seed(self):
        windows_of = load("pot-gpt2").windows_of
        self.assertEqual(windows_of(self.ids, 9, 1), windows_of(self.ids, 9, 1))
        self.assertNotEqual(windows_of(self.ids, 9, 1), windows_of(self.ids, 9, 2))
        self.assertTrue(all(len(window) == 65 for window in windows_of(self.ids[:66], 50, 1)))

    def test_nanogpt_files_are_16_bit_numbers(self):
        path = self.work / "val.bin"
        path.write_bytes(bytes([1, 0, 0, 1, 95, 0]))
        self.assertEqual(load("pot-gpt2").read_ids(path), [1, 256, 95])


class PotShakespeare(Experiment):
    def test_last_positions_come_with_the_pass_over_all_of_them(self):
        study = load("pot-shakespeare")
        program, part = study.Program(PROGRAM), self.work / "part.txt"
        part.write_bytes((study.MODEL / "input.txt").read_bytes()[: 64 * 20 + 1])
        score = lambda protocol: program.json("eval", study.MODEL, "--text", part, "--protocol", protocol)
        self.assertAlmostEqual(score("nanogpt-full")["nats_last_position"], score("nanogpt-last")["nats_per_token"], delta=1e-6)

    def test_a_row_for_each_quantizer_and_one_section_after_two_runs(self):
        command = [EXPERIMENTS / "pot-shakespeare", *self.outputs, "--windows", 40, "--only", "[-16, 16], per"]
        run(*command)
        first = self.results.read_text()
        run(*command)
        self.assertEqual(self.results.read_text(), first)
        rows = table_rows(first)
        self.assertEqual([row[0] for row in rows], ["float32", "PoT up, [-16, 16], per tensor",
                                                    "PoT nearest, [-16, 16], per tensor", "PoT nearest, [-16, 16], per row"])
        losses = [float(re.match(r"[\d.]+", row[3]).group()) for row in rows]
        self.assertEqual(losses, sorted(losses[:1]) + sorted(losses[1:], reverse=True))  # float, then ever better ones
        self.assertLess(losses[0], losses[-1])

    def test_the_reference_has_a_row_for_each_quantizer(self):
        study = load("pot-shakespeare")
        reference = study.reference_values()
        self.assertEqual(len(reference["float32"]), 4)
        self.assertEqual(len(reference[study.TRAIN_ROW]), 2)
        for name in study.QUANTIZERS:
            self.assertEqual(len(reference[name]), 8, name)


class Seeds(Experiment):
    def study(self, *more, status=0):
        command = [EXPERIMENTS / "seeds", "--model", "shakespeare", "--samples", 16, "--windows", 20, "--quiet", "--twofold", PROGRAM,
                   "--work", self.work / "seeds", "--results", self.results, "--charts", self.work, *more]
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, status, result.stderr)
        return result

    def test_rows_have_figures_beside_the_reference_and_are_kept(self):
        self.study("--rows", "rtn", "gptqt, in the loop", "--bits", 3, 4)
        first, rows = self.results.read_text(), table_rows(self.results.read_text())
        self.assertEqual([row[:2] for row in rows], [["rtn", "4"], ["rtn", "3"], ["rtn, groups of 64", "4"], ["rtn, groups of 64", "3"],
                                                     ["gptqt, in the loop", "3"]])
        self.assertEqual(rows[1][6], f"{1.6095 - 1.5843:.4f}, 0.0336")
        self.assertLess(float(rows[4][5]), float(rows[1][5]))  # divergence
        self.assertIn("</svg>", (self.work / "seeds-shakespeare.svg").read_text())
        kept = self.work / "seeds/shakespeare/seed-0/rows/rtn-3.json"
        time = kept.stat().st_mtime_ns
        again = self.study("--rows", "rtn", "gptqt, in the loop", "--bits", 3, 4)
        self.assertEqual((self.results.read_text(), kept.stat().st_mtime_ns), (first, time))
        self.assertIn("about 0 minutes left", again.stderr)

    def test_random_rows_at_2_bits_count_with_the_median_of_seeds(self):
        self.study("--rows", "quipt", "--bits", 2, "--seeds", 3)
        rows = table_rows(self.results.read_text())
        self.assertEqual([row[4].partition(", ")[2] for row in rows], ["median of 3"] * 2)
        divergences = [json.loads((self.work / f"seeds/shakespeare/seed-{seed}/compare.json").read_text())["rows"][0]["score"]["kl_mean"]
                       for seed in range(3)]
        self.assertEqual(len(set(divergences)), 3)
        self.assertAlmostEqual(float(rows[0][5]), sorted(divergences)[1], delta=1e-4)

    def test_every_row_of_every_model_is_one_that_compare_takes(self):
        seeds = load("seeds")
        for rows in (seeds.shakespeare_rows(), seeds.smollm2_rows()):
            names = [row.name(bits) for row in rows for bits in row.reference]
            self.assertEqual(len(names), len(set(names)))
            result = subprocess.run([PROGRAM, "compare", "nowhere", "-o", str(self.work / "out"), "--text", "nothing", "--methods", *names],
                                    capture_output=True, text=True, check=False)
            self.assertIn("nowhere: ", result.stderr)  # the rows were understood: only the model is missing

    def test_limits_are_those_of_the_losses(self):
        seeds = load("seeds")
        row = lambda excess, draws=False: seeds.Row("label", "rtn", {3: (excess, None), 2: (excess, None)}, draws)
        study = seeds.Study("name", "title", Path(), [], 0.01, {})
        limit = lambda row, bits: seeds.limit_of(study, seeds.Job(row, bits, [0]))
        self.assertAlmostEqual(limit(row(0.5), 3), 0.535)
        self.assertAlmostEqual(limit(row(2.0), 3), 2.3)
        self.assertAlmostEqual(limit(row(0.5, draws=True), 2), 0.575)
        drawn = seeds.Row("label", "rtn", {3: (9, 9)}, True, {3: [(0.4, 0.01), (0.5, 0.04), (0.6, 0.02)]}, share=1.03)
        self.assertAlmostEqual(limit(drawn, 3), 1.03 * 0.02)
        outcome = seeds.Outcome(seeds.Job(drawn, 3, [0]), limit(drawn, 3), excess=9, kl=0.0205)
        self.assertTrue(outcome.passes)
        without = seeds.Row("label", "rtn", {3: (0.5, None)}, True, share=1.03)
        self.assertAlmostEqual(limit(without, 3), 1.03 * 0.5)
        self.assertFalse(seeds.Outcome(seeds.Job(without, 3, [0]), limit(without, 3), excess=0.52, kl=0).passes)

    def test_an_unknown_row_is_refused_with_the_known_ones(self):
        result = self.study("--rows", "nonsense", status=1)
        self.assertIn("quipt, in the loop", result.stderr)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
