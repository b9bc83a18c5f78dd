"""The benchmark: what it counts, what it compares with, and that the README says what its JSON says."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from src.bench import __main__ as bench
from src.bench import curves, memory, plan, results, roof, table, target, timing
from src.bench.cases import Case, activations, forward_operations, prepare, program_of, step_of
from src.bench.results import Measured, Results, Session
from src.common.errors import InputError
from src.encoders.registry import ARCHITECTURES, Architecture
from tests.conftest import ROOT

CPU = torch.device("cpu")
BARE = ("trainer=cpu",)


def _session(device: str = "cpu: a processor, 2 threads", started: str = "2026-11-25T10:00:00+00:00") -> Session:
    return Session(started, device, 2, 2, 24.0, {"python": "3.11.7", "torch": "2.15.0"}, "0123456789abcdef", "bench")


def _speed(case: Case, it_per_s: float) -> Measured:
    return Measured(case.label, {"it_per_s": it_per_s, "mpx_it_per_s": it_per_s * case.megapixels})


def _results() -> Results:
    """Something in every section."""
    session = _session()
    fast, slow = Case("vgg19", 356), Case("vgg19", 356, "bf16")
    pace = {"it_per_s": 2.5, "mpx_it_per_s": 0.3, "share_of_convolution": 1.25, "share_of_product": 0.5}
    measured = {
        "roof": [Measured({"precision": "32"}, {"convolution": 150.0, "product": 140.0})],
        "speed": [Measured(fast.label, pace), Measured(slow.label, note="not in this hardware")],
        "race": [Measured(fast.label, {"it_per_s": 2.5, "program_it_per_s": 0.5, "ratio": 5.0})],
        "lightning": [Measured(fast.label, {"bare_seconds": 0.4, "loop_seconds": 0.41, "share": 0.0244})],
        "memory": [
            Measured(fast.label, {"peak_mib": 1234.0, "estimate_mib": 1200.0, "seconds": 0.5}),
            Measured(Case("vgg19", 356, mode="tiled").label, note="too little memory"),
            Measured(Case("vgg19", 356, mode=plan.PROGRAM).label, {"peak_mib": 2345.0}),
        ],
        "target": [
            Measured(
                {"pair": "cat-swell", "optimizer": "adam 0.1"}, {"seconds": 3.0, "evaluations": 60, "ratio": 0.01}
            ),
            Measured(
                {"pair": "cat-swell", "optimizer": "lbfgs"},
                {"seconds": 9.0, "evaluations": 99, "ratio": 0.1},
                "not reached in 99 evaluations",
            ),
        ],
        "curves": [
            Measured(
                {"pair": pair, "optimizer": "lbfgs"},
                {"end": end, "loss_at_0": 3.0, "seconds_at_0": 0.1, "loss_at_5": end, "seconds_at_5": 0.6, **reached},
            )
            for pair, end, reached in (
                ("cat-dots", 0.9, {"evaluations_to_target": 4.0, "seconds_to_target": 0.5}),
                ("cat-swell", 0.8, {"evaluations_to_target": 2.0, "seconds_to_target": 0.3}),
                ("rocket-swell", 1.2, {}),
            )
        ],
        "precision": [Measured({"pair": "cat-dots"}, {"32": 1.25, "bf16": 1.26, "apart": 0.008})],
        "startup": [Measured({"command": "imports"}, {"seconds": 4.0, "ratio": 1.0})],
    }
    rows = tuple(row for name, each in measured.items() for row in results.rows_of(session, name, each))
    return Results((session,), rows)


def test_operations_by_closed_form() -> None:
    """Two blocks at 10 px: 3 to 4 and 4 to 4 channels at 10 x 10, 4 to 6 at 5 x 5."""
    small = Architecture("small", ((4, 4), (6,)), None, "")
    assert activations(small, "relu2_1", 10) == [400, 400, 150]
    assert forward_operations(small, "relu2_1", 10) == 18 * (3 * 400 + 4 * 400 + 4 * 150)
    assert forward_operations(small, "conv1_1", 10) == 18 * 3 * 400
    # VGG-19 to conv5_1 at 356 px, from a count by hand of its blocks at 356, 178, 89, 44 and 22 px
    by_hand = 18 * (
        (3 * 64 + 64 * 64) * 356**2
        + (64 * 128 + 128 * 128) * 178**2
        + (128 * 256 + 3 * 256 * 256) * 89**2
        + (256 * 512 + 3 * 512 * 512) * 44**2
        + 512 * 512 * 22**2
    )
    assert forward_operations(ARCHITECTURES["vgg19"], "conv5_1", 356) == by_hand
    assert Case("vgg19", 356).operations == 2 * by_hand
    assert roof.operations("product", CPU) == pytest.approx(roof.operations("convolution", CPU), rel=0.02)


@pytest.mark.parametrize("backbone", plan.Plan.backbones)
def test_the_transcription_is_what_we_optimise(backbone: str) -> None:
    """The published program and loss=published have the same loss, gradient, and picture after a step."""
    config = Case(backbone, 48).config(*BARE)
    prepared = prepare(config)
    program = program_of(prepared)
    [ours] = prepared.canvas.parameters()
    for _ in range(2):
        terms = prepared.objective(prepared.canvas.normalized())
        loss = program.loss()
        assert loss.item() == pytest.approx(terms.total.item(), rel=1e-4)
        [gradient] = torch.autograd.grad(terms.total.sum(), [ours])
        [theirs] = torch.autograd.grad(loss, [program.image])
        assert (gradient - theirs).norm() < 1e-3 * theirs.norm()
        with torch.no_grad():  # a distance from the start, where the content loss is zero
            noise = 0.1 * torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
            ours.add_(noise)
            program.image.add_(noise)
    program.step()
    step_of(config, prepared)()
    # Adam's first step is the rate however small the gradient: where that is about zero, it may go either way
    assert (ours - program.image).abs().quantile(0.99).item() < 1e-4


def test_the_program_computes_the_gradients_that_it_computes() -> None:
    program = program_of(prepare(Case("embedded", 32).config(*BARE)))
    program.step()
    assert all(parameter.grad is not None for parameter in program.model.parameters())
    assert all(type(module) in (torch.nn.Conv2d, torch.nn.ReLU, torch.nn.MaxPool2d) for module in program.model)


def test_cases_take_turns() -> None:
    called = []
    few = plan.Plan(least=2, most=3, budget=0.0)
    cases = {name: (lambda name=name: called.append(name)) for name in ("a", "b")}
    found = timing.interleaved(cases, few, CPU)
    assert called == ["a", "b"] * 3, "once to warm up, and then the least, as there is no budget"
    assert {name: each.repeats for name, each in found.items()} == {"a": 2, "b": 2}
    called.clear()
    assert timing.interleaved(cases, plan.Plan(least=1, most=3), CPU)["a"].repeats == 3
    assert timing.Timing.of(9.0, [3.0, 1.0, 2.0]) == timing.Timing(2.0, 9.0, 1.0, 3.0, 3)


def test_a_case_that_does_not_fit_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    from src.bench import cases, speed

    monkeypatch.setattr(cases, "free_bytes", lambda device: 3 * 2**30)
    monkeypatch.setattr(speed, "prepare", lambda config: pytest.fail("it was begun"))
    few = plan.Plan(trainer="cpu", backbones=("vgg19",), sizes=(2048,))
    for measured in speed.measure(few):
        assert not measured.values
        assert "3 are free" in measured.note or measured.case["precision"] == "bf16"
    assert Case("vgg19", 64).obstacle(CPU) == ""


@pytest.mark.parametrize(("mode", "note"), [("eager", ""), ("tiled", "1 of 5 blocks computed anew")])
def test_memory_is_measured_beside_what_was_expected(mode: str, note: str) -> None:
    found = memory.peak_of(Case("embedded", 48, mode=mode), plan.quick("cpu"))
    assert found.values.keys() == {"peak_mib", "seconds", "estimate_mib"} and min(found.values.values()) > 0
    assert found.note == note
    theirs = memory.peak_of(Case("embedded", 48, mode=plan.PROGRAM), plan.quick("cpu"))
    assert theirs.values.keys() == {"peak_mib", "seconds"}


def test_results_survive_the_file(tmp_path: Path) -> None:
    found = _results()
    found.write(tmp_path / "bench.json")
    assert results.read(tmp_path / "bench.json") == found
    assert results.read(tmp_path / "missing.json") == Results()
    for text in ("nothing", "[]", '{"schema": 1}', '{"schema": 0, "sessions": [], "rows": []}'):
        (tmp_path / "bench.json").write_text(text)
        with pytest.raises(InputError, match=r"bench\.json"):
            results.read(tmp_path / "bench.json")


def test_later_rows_replace_their_own_kind_only() -> None:
    case, other = Case("vgg19", 356), Case("vgg19", 512)
    first, later = _session(), _session(started="2026-11-26T10:00:00+00:00")
    gpu = _session("A GPU", "2026-11-27T10:00:00+00:00")
    found = Results()
    for session, measured in (
        (first, [_speed(case, 1.0), _speed(other, 2.0)]),
        (later, [_speed(case, 3.0)]),
        (gpu, [_speed(case, 40.0)]),
    ):
        found = found.updated(Results((session,), results.rows_of(session, "speed", measured)))
    figures = {(row.device, row.case["edge"]): row.values["it_per_s"] for row in found.rows}
    assert figures == {(first.device, 356): 3.0, (first.device, 512): 2.0, ("A GPU", 356): 40.0}
    assert found.sessions == (first, later, gpu)
    # a session of which nothing is left is forgotten
    assert first not in found.updated(Results((later,), results.rows_of(later, "speed", [_speed(other, 4.0)]))).sessions


def test_the_table_says_what_was_measured_and_what_was_not() -> None:
    text = table.render(_results())
    assert "| vgg19 | 356 | 2.50 | 0.300 | 125 %, 50 % | not measured: not in this hardware | – | –, – |" in text
    assert "| vgg19, 356 px | 0.500 | 2.50 | 5.00 |" in text
    assert "| vgg19, ours, float32 | 1234 (1200; 0.500 s) |" in text
    assert "| vgg19, ours, float32, tiled | not measured: too little memory |" in text
    assert "| vgg19, published program | 2345 |" in text
    assert "| cat-swell | 60 | 3.00 | 100 | 99 | not reached in 99 evaluations | – |" in text
    assert "| Peak memory, in brackets what was expected and the time of a step | not measured |" in text, (
        "there is no GPU"
    )
    gpu = _session("A GPU")
    with_gpu = _results().updated(Results((gpu,), results.rows_of(gpu, "speed", [_speed(Case("vgg19", 356), 40.0)])))
    assert "| vgg19 | 356 | 40.0 |" in table.render(with_gpu)
    assert "| Peak memory, in brackets what was expected and the time of a step | not measured |" not in table.render(
        with_gpu
    )
    for lines in text.split("\n\n"):  # every row has the columns of its table
        if lines.startswith("|"):
            assert len({line.replace(r"\|", "").count("|") for line in lines.splitlines()}) == 1, lines


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text(f"before\n\n{table.BEGIN}\nold\n{table.END}\n\nafter\n")
    table.write_readme(document, _results())
    once = document.read_text()
    table.write_readme(document, _results())
    assert document.read_text() == once
    assert once.startswith(f"before\n\n{table.BEGIN}\n\n") and once.endswith(f"\n\n{table.END}\n\nafter\n")
    assert "old" not in once
    for text in ("", table.BEGIN, f"{table.END} {table.BEGIN}", f"{table.BEGIN} {table.BEGIN} {table.END}"):
        with pytest.raises(InputError, match="bench:begin"):
            table.replaced(text, Results())


def test_the_readme_says_what_the_json_says() -> None:
    text = bench.README.read_text()
    assert table.replaced(text, results.read(bench.DATA)) == text, "python -m src.bench --table --readme"


def test_targets(tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    assert target.read_targets(path) == {}
    path.write_text('{"command": "make", "pairs": {"cat-swell": {"loss": 1.5}}}')
    assert target.read_targets(path) == {("cat", "swell"): 1.5}
    path.write_text('{"pairs": {"cat-swell": 1.5}}')
    with pytest.raises(InputError, match="targets"):
        target.read_targets(path)


@pytest.mark.slow
def test_time_to_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is reached, one that is not."""
    start = Case("embedded", 160)
    loss = prepare(start.config(*BARE)).objective
    few = plan.quick("cpu")
    prepared = prepare(start.config(*BARE))
    initial = loss(prepared.canvas.normalized()).total.item()
    monkeypatch.setattr(target, "read_targets", lambda: {("cat", "swell"): 0.9 * initial, ("cat", "dots"): 0.0})
    monkeypatch.setattr(target, "OPTIMIZERS", {"adam": ("optimizer.lr=0.1",)})
    monkeypatch.setattr(target, "TIMED", 1)
    reached, missed = target.measure(few)
    assert reached.case == {"pair": "cat-swell", "optimizer": "adam"} and not reached.note
    assert reached.values["loss"] <= reached.values["target"] and 0 < reached.values["evaluations"] <= few.target_steps
    ratio = reached.values["seconds"] / (6000 * reached.values["program_step_seconds"])
    assert reached.values["ratio"] == pytest.approx(ratio)
    assert missed.note == "not reached in 20 evaluations"


def test_targets_that_are_missing_are_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(target, "read_targets", dict)
    assert list(target.measure(plan.quick("cpu"))) == []
    assert [record.getMessage() for record in caplog.records] == [
        "target: not measured, as src/assets/targets.json with the losses to reach is missing"
    ]


def test_every_section_has_its_measure_and_its_table() -> None:
    assert list(bench.measures()) == list(plan.SECTIONS)
    assert sorted(table.PARTS) == sorted(plan.SECTIONS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sped"], "there is no section sped; the sections: roof, speed, race"),
        (["sections=speed,rof"], "there is no section rof;"),
        (["--quick", "--readme"], "do not go together"),
        (["--from", "nothing.json", "--table"], "nothing.json: no such file"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


def test_sections_by_name() -> None:
    assert bench._chosen(["sections=speed,roof"]) == bench._chosen(["speed", "roof"]) == ["roof", "speed"]
    assert bench._chosen([]) == list(plan.SECTIONS)


def test_results_of_two_machines_are_put_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = _session("A GPU")
    _results().write(tmp_path / "cpu.json")
    Results((gpu,), results.rows_of(gpu, "speed", [_speed(Case("vgg19", 356), 40.0)])).write(tmp_path / "gpu.json")
    given = ["--from", str(tmp_path / "cpu.json"), "--from", str(tmp_path / "gpu.json")]
    assert bench.main(["--table", *given, "--out", str(tmp_path / "both.json")]) == 0
    both = results.read(tmp_path / "both.json")
    assert both.devices == ["cpu: a processor, 2 threads", "A GPU"]
    assert table.render(both) in capsys.readouterr().out


def test_the_help_imports_nothing_heavy() -> None:
    code = "import sys, src.bench as b\ntry: b.main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n") and "startup" in done.stdout


@pytest.mark.slow
def test_a_quick_run(command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    """For real; an earlier result is kept where this run has none."""
    earlier, out = tmp_path / "earlier.json", tmp_path / "bench.json"
    _results().write(earlier)
    readme = bench.README.read_text()
    sections = ["roof", "speed", "race"]  # the others start many processes
    done = command("src.bench", "--quick", "--device", "cpu", *sections, "--from", str(earlier), "--out", str(out))
    assert done.stderr == ""
    assert bench.README.read_text() == readme
    found = results.read(out)
    assert "cpu: a processor, 2 threads" in found.devices
    data = json.loads(out.read_text())
    device = found.sessions[-1].device
    assert data["sessions"][-1]["versions"]["torch"] == torch.__version__.partition("+")[0]
    for name in sections:
        rows = found.section(name, device)
        measured = [row for row in rows if row.values]
        assert measured, name
        assert all(row.note for row in rows if not row.values)
        assert all(math.isfinite(value) for row in measured for value in row.values.values())
    [race] = [row for row in found.section("race", device) if row.case["precision"] == "32"]
    assert race.values["ratio"] == pytest.approx(race.values["program_seconds"] / race.values["seconds"])
    speed = found.section("speed", device)[0].values
    assert speed["it_per_s"] == pytest.approx(1 / speed["seconds"])


def test_curves_are_medians_over_the_pairs(tmp_path: Path) -> None:
    rows = _results().section("curves", _session().device)
    assert curves.medians([row.values for row in rows]) == [(0, 0.1, 3.0), (5, 0.6, 0.9)]
    found = curves.summary(rows, "lbfgs")
    assert (found["reached"], found["pairs"], found["end"]) == (2, 3, 0.9)
    assert found["evaluations_to_target"] == 4.0, "one that did not reach it took longer than those that did"
    curves.draw(rows, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as drawn:
        assert drawn.width > 500


def test_a_curve_is_read_off_a_run() -> None:
    """Losses are shares of the target's; where one is reached is where the run's own log says."""
    few = plan.quick("cpu")
    first = next(curves.measure(few))
    assert first.case == {"pair": "astronaut-brushwork", "optimizer": "the default"}
    assert first.values["loss_at_0"] > first.values["loss_at_5"] > 0 and first.values["evaluations"] == 6
    assert first.values["seconds_at_5"] > first.values["seconds_at_0"]
    assert first.values["end"] < first.values["loss_at_5"] and "loss_at_10" not in first.values
