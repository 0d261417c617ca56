"""The benchmarks measure what they say, and the article's orders fit the originals at their real configuration."""

import argparse
import json
import time

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import benchmarks.__main__ as benchmarks
from benchmarks import cores, full_size, growth, recorder, shares, speed, timing
from benchmarks.originals import ORIGINALS, denoising, with_random_weights
from painters_utils import Model, find_stacks, layer_order
from painters_utils.models.quick import FLOP
from workflow.config import load_study
from workflow.page import costs
from workflow.page.costs import cost_chapters, cost_table, goal_met, in_words

BILLIONS = {"flux": 11.9, "sd3": 2.0, "auraflow": 6.8}  # of parameters, as published


@pytest.mark.parametrize("name", ORIGINALS)
def test_the_articles_orders_fit_the_real_configuration(name):
    original = ORIGINALS[name]
    transformer = original.build()
    assert next(transformer.parameters()).is_meta
    assert round(sum(p.numel() for p in transformer.parameters()) / 1e9, 1) == BILLIONS[name]
    depths = {stack: len(blocks) for stack, blocks in find_stacks(transformer).items()}
    assert depths == Model.named(original.mini).depths
    assert full_size.check_orders(original) == {"flux": 15, "sd3": 11, "auraflow": 14}[name]
    assert full_size.bytes_needed(original, transformer) < 75e9, "fits a GPU of 80 GB"


@pytest.mark.slow
@pytest.mark.parametrize("name", ORIGINALS)
def test_full_size_runs_at_toy_width(name, monkeypatch):
    options = argparse.Namespace(width=32, pixels=None, steps=1, repeats=1, minutes=1, compile=False)
    shown = []
    monkeypatch.setattr(full_size, "show", shown.extend)
    monkeypatch.setattr(full_size, "TOY", dict(tokens=(2, 3), text=5))
    full_size.measure(name, options)
    ways = [row["what"].split(": ")[1] for row in shown]
    assert ways[:3] == ["untouched", "identity", "skip"] and ways[-1] == "recording"
    assert "the same latents bit for bit" in shown[1]["note"]
    runs = [int(row["note"].split()[0]) for row in shown]
    assert runs[2] < runs[0] == runs[1] == runs[-1] < runs[ways.index("looped parallel")]


@pytest.mark.parametrize(
    "arguments, remedy",
    [(["sd3", "--pixels", "250"], "a multiple of 16"), (["sd4"], "none of flux"), (["flux"], "--pixels 256")],
)
def test_what_cannot_be_measured_is_refused_before_weights_are_made(arguments, remedy, monkeypatch, capsys):
    monkeypatch.setattr(full_size, "with_random_weights", lambda _: pytest.fail("weights were made"))
    monkeypatch.setattr(full_size, "free_bytes", lambda: 2**30)
    monkeypatch.setattr("sys.argv", ["full_size", *arguments])
    with pytest.raises(SystemExit):
        full_size.main()
    assert remedy in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ORIGINALS)
def test_operations_counted_without_weights_are_those_of_a_step(name, monkeypatch):
    monkeypatch.setattr(speed, "SIDE", 64)  # of the products beside it, whose rate is not asked for here
    original, size = ORIGINALS[name], dict(tokens=(2, 3), text=5)
    transformer = with_random_weights(original.build(32, torch.float32))
    with FlopCounterMode(display=False, custom_mapping=FLOP) as counter:
        denoising(original, transformer, 1, **size)()
    plain = type(original).build
    monkeypatch.setattr(type(original), "build", lambda self: plain(self, 32))
    assert full_size.flop_of_step(original, **size) == counter.get_total_flops() > 0
    share, estimate = full_size.rates(original, transformer, size)
    assert 0 < share["value"] < 100 and estimate["value"] > 0


def test_slopes_tell_how_cost_grows():
    x = np.array([1, 2, 4])
    assert costs.slope_of(pd.DataFrame({"x": x, "y": 3.0 * x**2})) == pytest.approx(2)


def test_the_processors_clock_stands_still_while_others_work():
    seconds = timing.take_turns({"sleep": lambda: time.sleep(0.05)}, 2, clock=timing.PROCESSOR)
    assert torch.cuda.is_available() or seconds["sleep"].max() < 0.02


def test_a_guided_loop_follows_the_guidance():
    original = ORIGINALS["sd3"]
    transformer = with_random_weights(original.build(32, torch.float32))
    toy = dict(tokens=(2, 3), text=5)
    once = denoising(original, transformer, 1, **toy)()
    assert once.shape == (1, 16, 4, 6) and once.isfinite().all()
    assert torch.equal(once, denoising(original, transformer, 1, **toy)()), "the same noise each time"
    with layer_order(transformer, {"transformer_blocks": [0, 23]}):
        assert not torch.equal(once, denoising(original, transformer, 1, **toy)())


@pytest.mark.slow
def test_recording_by_hand_finds_the_recorders_matrices():
    works = recorder.ways(steps=2, batch=2, width=32)
    recorder.check_equal(works)
    broken = {**works, "by hand": lambda: {("image", "after"): np.eye(57)}}
    with pytest.raises(AssertionError):
        recorder.check_equal(broken)


def test_works_take_turns():
    ran = []
    works = {name: lambda name=name: ran.append(name) for name in "abc"}
    seconds = timing.take_turns(works, repeats=3)
    assert [len(times) for times in seconds.values()] == [3, 3, 3]
    assert [ran[start : start + 3] for start in (0, 3, 6, 9)] == [list("cab"), list("abc"), list("bca"), list("cab")]


def test_a_goal_is_met_only_by_the_whole_interval():
    rows = [
        timing.ratio("reverse", "time of a thing", values, ("≤", 1.01))
        for values in ([1.0] * 5, [1.0, 1.0, 1.005, 1.02, 1.02], [1.2] * 5, [1.0])
    ]
    assert [goal_met(row) for row in rows] == ["yes", "open", "no", "yes"]
    assert goal_met(timing.row("batch", "speed", 3.0, "×", ("≥", 2))) == "yes"
    assert goal_met(timing.row("kept", "memory", 3.0, "×")) == ""
    assert list(cost_table(rows)["measured"])[2:] == ["1.200 × (1.200 – 1.200)", "1.000 ×"]
    assert in_words(rows[:1]) == ["**Another order costs nothing.** Time of a thing: 1.000 × (1.000 – 1.000)."]
    assert in_words(rows[2:3])[0].startswith("**What another order costs.**")


@pytest.mark.slow
def test_the_page_shows_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "GROWING", {"steps": {1: {"steps": 1}, 2: {"steps": 2}}})
    rows, points = growth.measure(width=32, batch=1, steps=1, repeats=1)
    assert [(point["line"], point["x"]) for point in points] == [
        ("untouched", 1), ("untouched", 2), ("recording", 1), ("recording", 2)
    ]  # fmt: skip
    assert cost_chapters(tmp_path) == [], "no chapter without a measurement"
    found = {"of": "A thing", "machine": timing.machine() | {"processor": "<b>"}, "rows": rows, "points": points}
    (tmp_path / "here.json").write_text(json.dumps(found))
    [chapter] = cost_chapters(tmp_path)
    [chart] = chapter["charts"]
    assert chapter["machine"].startswith("A thing: ")
    assert 'aria-label="seconds by steps; slopes: untouched' in chart and "recording, 2 steps: " in chart
    for row in rows:
        assert row["what"] in chapter["table"] and f"{row['value']:.1f}"[:2] in chapter["table"]
    assert "<b>" not in chapter["table"] and "<b>" not in chart


def test_the_table_of_the_docs_is_written_anew(tmp_path, monkeypatch):
    page = tmp_path / "costs.md"
    page.write_text(benchmarks.PAGE.read_text())
    monkeypatch.setattr(benchmarks, "PAGE", page)
    monkeypatch.setattr(costs, "RESULTS", tmp_path / "results")
    row = timing.ratio("identity", "time of a thing", [1.0] * 5, ("≤", 1.01))
    beside = timing.row("kept", "a row without a goal", 3.0, "×")
    benchmarks.keep({"of": "A thing", "machine": timing.machine(), "rows": [row, beside], "points": []})
    text = page.read_text()
    assert "time of a thing" in text and "a row without a goal" not in text, "what has no goal stands on the page only"
    assert text.count("<!-- bench -->") == text.count("<!-- /bench -->") == 1 and text.startswith("# What it costs")
    [kept] = (tmp_path / "results").glob("*.json")
    assert json.loads(kept.read_text())["rows"] == [row | {"goal": ["≤", 1.01]}, beside]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cost", "batching", "speed", "shares"])
def test_a_benchmark_of_a_mini_runs(name, monkeypatch):
    """At its tiny settings, as `python -m benchmarks --quick` runs it, but for a notebook's start."""
    monkeypatch.setattr(speed, "SIDE", 64)
    monkeypatch.setattr(shares, "of_a_start", lambda _: [])
    [(benchmark, tiny)] = [
        (one, tiny) for one, tiny in benchmarks.BENCHMARKS.items() if one.__name__.endswith(f".{name}")
    ]
    rows, _ = benchmark.measure(**tiny)
    assert rows and all(row["value"] > 0 for row in rows)


def test_two_cores_do_a_studys_own_work(tmp_path):
    settings = load_study().settings
    studio = cores.study_of("sd3-mini", 1, str(tmp_path))
    assert (studio.model.steps, studio.shown) == (1, settings.prompts)
    assert len(studio.prompts) == len(settings.prompts) + settings.suite
