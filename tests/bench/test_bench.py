"""Benchmark: operation counts, the published program, timing, results, tables, sections and the command line."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from src.bench import __main__ as bench
from src.bench import memory, peak_rate, plan, results, runs, sections, steps, tables, timing
from src.bench.cases import Case, Setup, Step, activations, forward_operations, network
from src.bench.results import Results, Row, Session
from src.common.errors import InputError
from src.config.schema import RunConfig
from src.encoders.registry import VGGSpec
from tests.support import ROOT

CPU = torch.device("cpu")
BARE = ("trainer=cpu", "trainer.threads=1")


def _session(device: str = "cpu: a processor, 2 threads", started: str = "2026-11-25T10:00:00+00:00") -> Session:
    return Session(started, device, 2, 2, 24.0, {"python": "3.11.7", "torch": "2.15.0"}, "0123456789abcdef", "bench")


def _speed(case: Case, it_per_s: float) -> Row:
    return Row(case.label, {"it_per_s": it_per_s, "mpx_it_per_s": it_per_s * case.megapixels})


def _results() -> Results:
    """Return made-up results of every section."""
    session = _session()
    fast, slow = Case("vgg19", 356), Case("vgg19", 356, "bf16")
    pace = {"it_per_s": 2.5, "mpx_it_per_s": 0.3, "share_of_convolution": 1.25, "share_of_product": 0.5}
    measured = {
        "peak_rate": [Row({"precision": "32"}, {"convolution": 150.0, "product": 140.0})],
        "speed": [Row(fast.label, pace), Row(slow.label, note="no bfloat16 in this hardware")],
        "race": [Row(fast.label, {"it_per_s": 2.5, "program_it_per_s": 0.5, "ratio": 5.0})],
        "lightning": [Row(fast.label, {"bare_seconds": 0.4, "loop_seconds": 0.41, "share": 0.0244})],
        "memory": [
            Row(fast.label, {"peak_mib": 1234.0, "estimate_mib": 1200.0, "seconds": 0.5}),
            Row(Case("vgg19", 356, mode="tiled").label, note=results.OUT_OF_MEMORY),
            Row(Case("vgg19", 512, "bf16").label, note="needs about 30 GiB, 20 are free"),
            Row(Case("vgg19", 356, mode=plan.PROGRAM).label, {"peak_mib": 2345.0}),
        ],
        "target": [
            Row({"pair": "cat-swell", "optimizer": "adam 0.1"}, {"seconds": 3.0, "evaluations": 60, "ratio": 0.01}),
            Row(
                {"pair": "cat-swell", "optimizer": "lbfgs"},
                {"seconds": 9.0, "evaluations": 99, "ratio": 0.1},
                "not reached in 99 evaluations",
            ),
        ],
        "one_pass": [Row({"network": "small", "edge": 256, "runtime": "PyTorch"}, {"seconds": 0.04, "it_per_s": 25.0})],
        "precision": [Row({"pair": "cat-dots"}, {"32": 1.25, "bf16": 1.26, "apart": 0.008})],
        "startup": [Row({"command": "imports"}, {"seconds": 4.0, "ratio": 1.0})],
    }
    rows = tuple(session.sign(name, row) for name, each in measured.items() for row in each)
    return Results((session,), rows)


def test_operations_match_closed_forms() -> None:
    """Two blocks at 10 px: 3 to 4 and 4 to 4 channels at 10 x 10, 4 to 6 at 5 x 5."""
    small = VGGSpec("small", ((4, 4), (6,)), None, "")
    assert activations(small, "conv2_1", 10) == [400, 400, 150]
    assert forward_operations(small, "conv2_1", 10) == 18 * (3 * 400 + 4 * 400 + 4 * 150)
    assert forward_operations(small, "conv1_1", 10) == 18 * 3 * 400
    # VGG-19 to conv5_1 at 356 px, counted by hand; its blocks have 356, 178, 89, 44 and 22 px
    by_hand = 18 * (
        (3 * 64 + 64 * 64) * 356**2
        + (64 * 128 + 128 * 128) * 178**2
        + (128 * 256 + 3 * 256 * 256) * 89**2
        + (256 * 512 + 3 * 512 * 512) * 44**2
        + 512 * 512 * 22**2
    )
    assert forward_operations(network("vgg19"), "conv5_1", 356) == by_hand
    assert Case("vgg19", 356).operations == 2 * by_hand
    assert Case("vgg19", 356, pairs=4).operations == 8 * by_hand
    convolution, product, *_ = peak_rate.calls(CPU)
    assert product.operations == pytest.approx(convolution.operations, rel=0.02)


@pytest.mark.parametrize("backbone", plan.Plan.backbones)
def test_the_published_program_equals_loss_published(backbone: str) -> None:
    """Both have the same loss, gradient, and image after a step."""
    setup = Setup.of(Case(backbone, 48).config(*BARE))
    step, program = Step(setup), setup.program()
    [objective], [ours] = step.objectives, step.image.parameters()
    for _ in range(2):
        terms = objective(step.image.render())
        loss = program.loss()
        assert loss.item() == pytest.approx(terms.total.item(), rel=1e-4)
        [gradient] = torch.autograd.grad(terms.total.sum(), [ours])
        [theirs] = torch.autograd.grad(loss, [program.image])
        assert (gradient - theirs).norm() < 1e-3 * theirs.norm()
        with torch.no_grad():  # away from the start, where the content loss is zero
            noise = 0.1 * torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
            ours.add_(noise)
            program.image.add_(noise)
    program.step()
    step()
    # Adam's first step is the learning rate in the gradient's direction, which is arbitrary where the gradient is ~0
    assert (ours - program.image).abs().quantile(0.99).item() < 1e-4


def test_the_published_program_computes_gradients_of_its_weights() -> None:
    program = Setup.of(Case("embedded", 32).config(*BARE)).program()
    program.step()
    assert all(parameter.grad is not None for parameter in program.model.parameters())
    assert all(type(module) in (torch.nn.Conv2d, torch.nn.ReLU, torch.nn.MaxPool2d) for module in program.model)


def test_cases_take_turns() -> None:
    called = []
    few = plan.Plan(least=2, most=3, budget=0.0)
    cases = {name: (lambda name=name: called.append(name)) for name in ("a", "b")}
    found = timing.interleaved(cases, few, CPU)
    assert called == ["a", "b"] * 3, "once to warm up, then the least number, as the budget is 0"
    assert {name: each["repeats"] for name, each in found.items()} == {"a": 2, "b": 2}
    called.clear()
    assert timing.interleaved(cases, plan.Plan(least=1, most=3), CPU)["a"]["repeats"] == 3
    assert found["a"]["fastest"] <= found["a"]["seconds"] <= found["a"]["slowest"]


def test_a_case_that_does_not_fit_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    from src.bench import cases

    monkeypatch.setattr(cases, "free_bytes", lambda device: 3 * 2**30)
    monkeypatch.setattr(Setup, "of", lambda config: pytest.fail("it was started"))
    few = plan.Plan(trainer="cpu", backbones=("vgg19",), sizes=(2048,))
    for row in steps.speed(few):
        assert not row.values
        assert "3 are free" in row.note or row.case["precision"] == "bf16"
    assert Case("vgg19", 64).obstacle(CPU) == ""


@pytest.mark.parametrize(("mode", "note"), [("eager", ""), ("tiled", "1 of 5 blocks recomputed")])
def test_peak_memory_is_measured_with_its_estimate(mode: str, note: str) -> None:
    found = memory.peak_of(Case("embedded", 48, mode=mode), plan.quick("cpu"))
    assert found.values.keys() == {"peak_mib", "seconds", "estimate_mib"} and min(found.values.values()) > 0
    assert found.note == note
    theirs = memory.peak_of(Case("embedded", 48, mode=plan.PROGRAM), plan.quick("cpu"))
    assert theirs.values.keys() == {"peak_mib", "seconds"}


@pytest.mark.long
def test_memory_is_measured_in_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a full run; a quick one stays in its own process."""
    here = os.getpid()
    monkeypatch.setattr(memory, "reset_peak_memory", lambda _: os.getpid() != here or pytest.fail("not isolated"))
    rows = list(memory.measure(dataclasses.replace(plan.quick("cpu"), isolated=True)))
    assert len(rows) == len(plan.PRECISIONS) + len(plan.STRATEGIES) + 1
    assert all(row.values.get("peak_mib", 0) > 0 or row.note for row in rows)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = _results()
    found.write(tmp_path / "bench.json")
    assert results.read(tmp_path / "bench.json") == found
    for text in ("nothing", "[]", '{"schema": 1}', '{"schema": 0, "sessions": [], "rows": []}'):
        (tmp_path / "bench.json").write_text(text)
        with pytest.raises(InputError, match=r"bench\.json"):
            results.read(tmp_path / "bench.json")


def test_later_rows_replace_rows_of_the_same_case_and_device() -> None:
    case, other = Case("vgg19", 356), Case("vgg19", 512)
    first, later = _session(), _session(started="2026-11-26T10:00:00+00:00")
    gpu = _session("A GPU", "2026-11-27T10:00:00+00:00")
    found = Results()
    for session, measured in (
        (first, [_speed(case, 1.0), _speed(other, 2.0)]),
        (later, [_speed(case, 3.0)]),
        (gpu, [_speed(case, 40.0)]),
    ):
        found = found.updated(Results((session,), tuple(session.sign("speed", row) for row in measured)))
    figures = {(row.device, row.case["edge"]): row.values["it_per_s"] for row in found.rows}
    assert figures == {(first.device, 356): 3.0, (first.device, 512): 2.0, ("A GPU", 356): 40.0}
    assert found.sessions == (first, later, gpu)
    # a session without rows is dropped
    assert first not in found.updated(Results((later,), (later.sign("speed", _speed(other, 4.0)),))).sessions


def test_the_tables_show_what_was_measured_and_nothing_else() -> None:
    text = tables.render(_results())
    assert "| vgg19 | 356 | float32 | eager | 2.50 | 0.300 | 125 % | 50 % |" in text
    assert "| vgg19 | 356 | float32 | eager | 0.500 | 2.50 | 5.00 |" in text
    assert "| vgg19 | 356 | float32 | eager | 1234 | 1200 | 0.500 |" in text
    assert "| vgg19 | 356 | float32 | tiled | out of memory | – | – |" in text
    assert "| vgg19 | 356 | float32 | published program | 2345 | – | – |" in text
    assert "| cat-swell | adam 0.1 | 60 | 3.00 | 100 | – |" in text
    assert "| cat-swell | lbfgs | 99 | 9.00 | – | not reached in 99 evaluations |" in text
    assert "| small | 256 | PyTorch | 40.0 | 25.0 |" in text
    assert "not measured" not in text and "bfloat16 in this hardware" not in text and "20 are free" not in text
    assert "the study, min" not in text, "columns without figures are left out"
    assert tables.TABLES["batch"][0] not in text, "a section without figures is left out"
    for title in (tables.TABLES[name][0] for name in plan.SECTIONS if name != "batch"):
        source = "cpu: a processor, 2 threads, 2 cores, 24 GiB, 2026-11-25, torch 2.15.0, python 3.11.7"
        assert f"**{title}**. {source}, commit 0123456789ab, bench." in text, "machine, date, commit and command"
    gpu = _session("A GPU")
    with_gpu = _results().updated(Results((gpu,), (gpu.sign("speed", _speed(Case("vgg19", 356), 40.0)),)))
    assert "| vgg19 | 356 | float32 | eager | 40.0 |" in tables.render(with_gpu)
    assert "GPU" not in text
    for lines in text.split("\n\n"):  # every row has the columns of its table
        if lines.startswith("|"):
            assert len({line.replace(r"\|", "").count("|") for line in lines.splitlines()}) == 1, lines


def test_the_command_is_shown_without_its_files() -> None:
    session = dataclasses.replace(_session(), command="bench race --out a.json --from '/my results/b.json' --eager")
    assert session.described().endswith(", bench race --eager")


def test_a_table_names_every_session_its_rows_are_from() -> None:
    first, later = _session(), _session(started="2026-11-26T10:00:00+00:00")
    found = Results((first, later))
    for session, edge in ((first, 356), (later, 512)):
        rows = (session.sign("speed", _speed(Case("vgg19", edge), 1.0)),)
        found = found.updated(Results((session,), rows))
    assert found.sources(found.rows) == [first, later] and found.sources(found.rows[1:]) == [later]
    text = tables.render(found)
    assert "2026-11-25" in text and "2026-11-26" in text


def test_the_duration_of_the_study_is_given_for_a_gpu() -> None:
    gpu, case = _session("A GPU"), Case("vgg19", 356, pairs=16)
    row = Row(case.label, {"it_per_s": 10.0, "pairs_it_per_s": 160.0})
    text = tables.render(Results((gpu,), (gpu.sign("batch", row),)))
    assert "the study, min |" in text and f"| {126 * 6000 / 160 / 60:.1f} |" in text


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"before\n\n{tables.BEGIN}\nold\n{tables.END}\n\nafter\n")
    tables.update_document(document, _results())
    once = document.read_text()
    tables.update_document(document, _results())
    assert document.read_text() == once
    assert once.startswith(f"before\n\n{tables.BEGIN}\n\n") and once.endswith(f"\n\n{tables.END}\n\nafter\n")
    assert "old" not in once
    for text in ("", tables.BEGIN, f"{tables.END} {tables.BEGIN}", f"{tables.BEGIN} {tables.BEGIN} {tables.END}"):
        with pytest.raises(InputError, match="bench:begin"):
            tables.insert(text, Results())


def test_the_results_of_the_docs_can_be_read() -> None:
    found = results.read(sections.DATA)
    assert found.rows and {row.section for row in found.rows} <= set(plan.SECTIONS)
    assert found.sources(found.rows) == list(found.sessions), "every row has its session, and every session rows"


def test_the_docs_show_the_results() -> None:
    text = sections.DOCS.read_text()
    assert tables.insert(text, results.read(sections.DATA)) == text, "python -m src.bench --table --docs"


def test_the_targets_that_ship_can_be_read() -> None:
    assert all(loss > 0 for loss in runs.read_targets().values())


@pytest.mark.long
def test_time_to_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """One target is reached, one is not."""
    few = dataclasses.replace(plan.quick("cpu"), target_steps=20, target_pairs=2)
    setup = Setup.of(Case("embedded", 160).config(*BARE))
    initial = setup.run.pair.objective(setup.start).total.item()
    monkeypatch.setattr(runs, "read_targets", lambda: {("cat", "swell"): 0.9 * initial, ("cat", "dots"): 0.0})
    monkeypatch.setattr(runs, "OPTIMIZERS", {"adam": ("optimizer.lr=0.1",)})
    reached, missed = runs.target(few)
    assert reached.case == {"pair": "cat-swell", "optimizer": "adam"} and not reached.note
    assert reached.values["loss"] <= reached.values["target"] and 0 < reached.values["evaluations"] <= few.target_steps
    ratio = reached.values["seconds"] / (6000 * reached.values["program_step_seconds"])
    assert reached.values["ratio"] == pytest.approx(ratio)
    assert missed.note == "not reached in 20 evaluations"


def test_the_overhead_of_the_loop_is_measured_without_captures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only one is after the last measured step."""
    captures = []

    def record(config: RunConfig) -> tuple[None, list[dict[str, float]]]:
        captures.append(config.captures)
        return None, [{"step": step, "seconds": step} for step in range(config.steps)]

    monkeypatch.setattr(steps, "run_once", record)
    few = dataclasses.replace(plan.quick("cpu"), loops=(("embedded", 64),), least=1)
    [row] = steps.lightning(few)
    assert row.values["loop_seconds"] == 1.0 and captures == [[1.0]]


def test_every_section_has_its_function_and_its_table() -> None:
    assert sorted(sections.measures()) == sorted(tables.TABLES) == sorted(plan.SECTIONS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sped"], "there is no section sped; the sections: peak_rate, speed, race"),
        (["sections=speed,rof"], "there is no section rof;"),
        (["sections="], "'sections=' names no section; the sections: peak_rate, speed, race"),
        (["sections=,"], "'sections=,' names no section;"),
        ([""], "'' names no section;"),
        (["--quick", "--docs"], "do not go together"),
        (["--from", "nothing.json", "--table"], "nothing.json: no such file"),
    ],
)
def test_bad_input_is_one_line_and_measures_nothing(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "measure", lambda *_: pytest.fail("it measured"))
    assert bench.main(arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


def test_sections_by_name() -> None:
    assert sections.choose(["sections=speed,peak_rate"]) == sections.choose(["speed", "peak_rate"])
    assert sections.choose(["speed", "peak_rate"]) == ["peak_rate", "speed"]
    assert sections.choose([]) == list(plan.SECTIONS)


def test_docs_are_updated_from_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document, data = tmp_path / "performance.md", tmp_path / "bench.json"
    for name, path in (("DOCS", document), ("DATA", data)):
        monkeypatch.setattr(bench, name, path)
    _results().write(data)
    assert bench.main(["--table", "--docs"]) == 2, "the document is missing"
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"error: cannot read {document}: No such file or directory"
    document.write_text(f"{tables.BEGIN}\n{tables.END}\n")
    assert bench.main(["--table", "--docs"]) == 0
    assert tables.render(_results()) in document.read_text() and results.read(data) == _results()


def test_results_of_two_machines_are_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = _session("A GPU")
    _results().write(tmp_path / "cpu.json")
    Results((gpu,), (gpu.sign("speed", _speed(Case("vgg19", 356), 40.0)),)).write(tmp_path / "gpu.json")
    given = ["--from", str(tmp_path / "cpu.json"), "--from", str(tmp_path / "gpu.json")]
    assert bench.main(["--table", *given, "--out", str(tmp_path / "both.json")]) == 0
    both = results.read(tmp_path / "both.json")
    assert both.devices == ["cpu: a processor, 2 threads", "A GPU"]
    assert tables.render(both) in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["sped"], ["--table", "--from", "src/assets/bench.json"]])
def test_what_measures_nothing_imports_no_torch(arguments: list[str]) -> None:
    code = f"import sys, src.bench.__main__ as b\ntry: b.main({arguments})\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n") and "startup" in done.stdout + done.stderr


@pytest.mark.long
def test_a_quick_run_measures_every_section(
    command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Rows of earlier results are kept where this run has none."""
    earlier, out = tmp_path / "earlier.json", tmp_path / "bench.json"
    _results().write(earlier)
    before = sections.DATA.read_bytes()
    done = command("src.bench", "--quick", "--device", "cpu", "--from", str(earlier), "--out", str(out))
    assert done.stderr == ""
    assert sections.DATA.read_bytes() == before
    found = results.read(out)
    assert "cpu: a processor, 2 threads" in found.devices
    data = json.loads(out.read_text())
    device = found.sessions[-1].device
    assert data["sessions"][-1]["versions"]["torch"] == torch.__version__.partition("+")[0]
    for name in plan.SECTIONS:
        rows = found.section(name, device)
        measured = [row for row in rows if row.values]
        assert measured, name
        assert all(row.note for row in rows if not row.values)
        assert all(math.isfinite(value) for row in measured for value in row.values.values())
        assert tables.TABLES[name][0] in done.stdout
    [race] = [row for row in found.section("race", device) if row.case["precision"] == "32"]
    assert race.values["ratio"] == pytest.approx(race.values["program_seconds"] / race.values["seconds"])
    speed = found.section("speed", device)[0].values
    assert speed["it_per_s"] == pytest.approx(1 / speed["seconds"])
    alone, pair = (row.values for row in found.section("batch", device)[:2])
    assert alone["ratio"] == pytest.approx(1)
    assert pair["pairs_it_per_s"] == pytest.approx(2 * pair["it_per_s"])
    assert pair["ratio"] == pytest.approx(pair["pairs_it_per_s"] / alone["pairs_it_per_s"])
