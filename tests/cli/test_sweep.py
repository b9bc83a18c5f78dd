"""A real sweep with failing jobs, and what W&B's own files hold of it."""

from collections.abc import Callable
from pathlib import Path

from src.tracking import names as keys
from src.tracking import record as records
from tests.conftest import SMALL
from tests.support import wandb_files

METRICS = {
    *(keys.TOTAL, keys.CONTENT, keys.STYLE, keys.layer_key("relu1_1"), keys.layer_key("relu2_1")),
    *(keys.EVALUATIONS, keys.SECONDS, keys.IT_PER_S, keys.MPX_IT_PER_S, keys.PEAK_MIB),
}


def test_a_sweep_of_four_jobs_of_which_two_fail(command: Callable, tmp_path: Path) -> None:
    done = command(
        "src.train", "-m", *SMALL, "logger=wandb", "style=dots,swell", "edge=40,1", "seed=3",
        "logger.tags=[mine]", "logger.project=trial", f'hydra.sweep.dir="{tmp_path}/a sweep"', status=1,
    )  # fmt: skip
    runs = list(records.scan(tmp_path))
    assert sorted(record.status for _, record in runs) == ["failed", "failed", "finished", "finished"]
    assert "[4/4]" in done.stdout and "Traceback" not in done.stderr + done.stdout
    summary = done.stderr.partition("error: ")[2]
    assert summary.startswith("2 of 4 jobs failed")
    [reason] = [line for line in summary.splitlines() if "edge=8 or more" in line]
    assert reason.endswith(": edge=1 style=dots; edge=1 style=swell"), "a line for each reason"
    assert "2 of 4 jobs finished in " in done.stdout and "report: python -m src.report" in done.stdout
    assert done.stdout.count("W&B is offline") == 1, "what all jobs share is logged once"

    ids = set()
    for folder, record in runs:
        [offline] = wandb_files.find_runs(folder)
        seen = wandb_files.load(offline)
        ids.add(seen.run_id)
        assert seen.run_id == record.wandb_id
        assert (seen.group, seen.project) == ("a sweep", "trial")
        assert seen.name == folder.name
        assert {"mine", "embedded-trained"} <= set(seen.tags)
        assert seen.config["edge"] == record.options.edge and seen.config["backbone"]["weights"] == "trained"
        assert seen.config["layers"]["content"] == "relu2_1"
        if record.status == "failed":
            assert seen.exit_code == 1 and seen.history == []
            assert seen.summary["status"] == "failed" and "8 or more" in seen.summary["error"]
            continue
        assert seen.exit_code == 0
        steps = [row["step"] for row in seen.history]
        assert steps == [0, 2, 4, 6] == [row["_step"] for row in seen.history], "the last step is always logged"
        for row in seen.history:
            assert set(row) >= METRICS
        for row, capture in zip(seen.history[1:], record.captures, strict=True):
            assert row[keys.TOTAL] == capture.losses["total"]
            assert row[keys.SSIM] == capture.ssim
            assert row["capture._type"] == "image-file"
            picture = next(offline.rglob(Path(row["capture.path"]).name))
            assert picture.read_bytes() == (folder / capture.file).read_bytes()
        assert seen.summary["ssim"] == record.ssim and seen.summary["loss_total"] == record.captures[-1].losses["total"]
        assert seen.config["weights_sha256"] == record.weights_sha256
    assert len(ids) == 4, "each job has a W&B run of its own"
