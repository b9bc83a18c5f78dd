"""A real sweep with failing jobs, and what W&B's own files hold of it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.common.errors import InputError
from src.common.files import sole_writer
from src.config.composition import compose
from src.config.identity import run_name
from src.report.runs import newest_sweep
from src.run import resumed
from src.tracking import names as keys
from src.tracking import record as records
from src.train import main
from tests.conftest import SMALL
from tests.support import wandb_files
from tests.support.pictures import write_smooth_picture
from tests.support.processes import new_python

METRICS = {
    *(keys.TOTAL, keys.CONTENT, keys.STYLE, keys.loss_key("style", "relu1_1"), keys.loss_key("style", "relu2_1")),
    *(keys.EVALUATIONS, keys.SECONDS, keys.IT_PER_S, keys.MPX_IT_PER_S, keys.PEAK_MIB),
}


@pytest.mark.slow
def test_a_sweep_of_four_jobs_of_which_two_fail(tmp_path: Path) -> None:
    done = new_python(
        "-m", "src.train", "-m", *SMALL, "logger=wandb", "style=dots,swell", "loss.beta=3,1e39", "seed=3",
        "logger.tags=[mine]", "logger.project=trial", f'hydra.sweep.dir="{tmp_path}/a sweep"',
    )  # fmt: skip
    assert done.returncode == 1, done
    runs = list(records.scan(tmp_path))
    assert sorted(record.status for _, record in runs) == ["failed", "failed", "finished", "finished"]
    assert "[4/4]" in done.stdout and "Traceback" not in done.stderr + done.stdout
    summary = done.stderr.partition("error: ")[2]
    assert summary.startswith("2 of 4 jobs failed")
    [reason] = [line for line in summary.splitlines() if "not finite" in line]
    assert reason.endswith(": style=dots loss.beta=1e+39; style=swell loss.beta=1e+39"), "a line for each reason"
    [repeated] = [line for line in done.stdout.splitlines() if line.startswith("[4/4] failed")]
    assert repeated == "[4/4] failed: as style=dots loss.beta=1e+39"
    logs = [(record.status, (folder / "train.log").read_text()) for folder, record in runs]
    assert all(
        ("ERROR" in log and "failed: the loss was not finite" in log) == (status == "failed") for status, log in logs
    )
    assert "2 of 4 jobs finished in " in done.stdout and "report: python -m src.report" in done.stdout
    for shared in ("W&B is offline", "GiB free: whole"):
        assert done.stdout.count(shared) == 1, "what all jobs share is logged once"

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
            assert seen.exit_code == 1 and not any(keys.TOTAL in row for row in seen.history)
            assert seen.summary["status"] == "failed" and "not finite" in seen.summary["error"]
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
            sent, kept = (np.asarray(Image.open(path)) for path in (picture, folder / capture.file))
            assert np.array_equal(sent, kept)
        assert seen.summary["ssim"] == record.ssim and seen.summary[keys.TOTAL] == record.captures[-1].losses["total"]
        assert seen.config["weights_sha256"] == record.weights_sha256
        assert seen.config["precision_used"] == record.precision == "32"
    assert len(ids) == 4, "each job has a W&B run of its own"


@pytest.mark.long
def test_the_images_of_a_folder_in_batches_while_another_process_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a", "b", "c"):
        write_smooth_picture(photos / f"{name}.png", 48, 48, seed=ord(name))
    (photos / "notes.txt").write_text("no image")
    sweep = ["-m", *SMALL, "steps=2", f"content={photos}", "style=dots", f"hydra.sweep.dir={tmp_path}/sweep"]
    monkeypatch.setattr(sys, "argv", ["train.py", *sweep, "hydra/launcher=batch", "hydra.launcher.size=2"])
    named = run_name(compose([*SMALL, "steps=2", "content=file", f"content.path={photos}/c.png", "style=dots"]))
    with sole_writer(tmp_path / "sweep" / named):
        main()
    assert sorted(record.options.content.path for _, record in records.scan(tmp_path / "sweep")) == [
        f"{photos}/a.png", f"{photos}/b.png",
    ]  # fmt: skip
    shown = capsys.readouterr().out
    assert "[1-2/3] content.path=" in shown and "[3/3] skipped, running in another process: content.path=" in shown
    assert "2 of 3 jobs finished in " in shown and "failed" not in shown
    for shared in ("backbone: embedded with weights trained", "GiB free: whole"):
        assert shown.count(shared) == 1, "what jobs share is logged once"
    for folder, _ in records.scan(tmp_path / "sweep"):
        assert "backbone: embedded with weights trained" in (folder / "train.log").read_text()


@pytest.mark.parametrize(
    "options",
    [("content=file", "content.url=http://127.0.0.1:9/a.png"), ("backbone=vgg16", "backbone.url=http://127.0.0.1:9/w")],
    ids=["image", "weights"],
)
def test_a_failed_download_is_logged_and_leaves_no_run(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The folder holds options and log but no record, so nothing takes it for a run; `resume=DIR` tries again."""
    sweep = tmp_path / "multirun/sweep"
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", *SMALL, *options, f"hydra.sweep.dir={sweep}"])
    with pytest.raises(SystemExit):
        main()
    assert "cannot download http://127.0.0.1:9/" in capsys.readouterr().err
    [folder] = [path for path in sweep.iterdir() if path.is_dir()]
    assert sorted(path.name for path in folder.iterdir()) == [".hydra", "train.log"]
    assert "failed: cannot download http://127.0.0.1:9/" in (folder / "train.log").read_text()
    assert list(records.scan(tmp_path)) == []
    for search in (newest_sweep, records.newest):  # what report and resume=last take
        with pytest.raises(InputError, match="no"):
            search(tmp_path / "multirun")
    config, again = resumed(folder)
    assert again == folder and config.backbone.url == (options[1].partition("=")[2] if "vgg16" in options[0] else None)
