"""Bad command lines end in one clear line and exit status 2, at once, and leave no folder behind."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from src.cli.errors import explain, plain_errors
from src.common.errors import InputError, Interrupted, NonFiniteLoss, SweepFailed
from src.config.schema import CONF
from src.train import main
from tests.support.processes import new_python

LONG = "x" * 100_000


def _fails(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> str:
    """Run the command in this process, expect status 2 and return what it printed on stderr."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr()
    assert stop.value.code == 2, printed
    assert "Traceback" not in printed.err + printed.out
    return printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["style=udni"], "style=udni is unknown; did you mean udnie? one of: brushwork, candy"),
        (["lr=0.01"], "there is no option lr; did you mean optimizer.lr? --help has all of them"),
        (["learning_rate=0.01"], "there is no option learning_rate; did you mean optimizer.lr"),
        (["nonsense=1"], "there is no option nonsense; the options: content, style, "),
        (["style=[dots,swell]"], "style has several values ([dots,swell]): write -m style=A,B to sweep them, or blend"),
        (["-m", "loss=[moments,patches],equations"], "loss has several values ([moments,patches],equations): write -m"),
        (["edge=64,96"], "edge has several values (64,96): write -m edge=A,B to sweep them"),
        (["edgee=3"], "there is no option edgee; did you mean edge?"),
        (["loss.bta=3"], "there is no option loss.bta; did you mean loss.beta"),
        (["+trainer.max_steps=5"], "there is no option trainer.max_steps; the options: trainer.accelerator"),
        (["++stepps=5"], "there is no option stepps; did you mean steps?"),
        (["~style"], "an option cannot be removed"),
        (["steps=abc"], "steps=abc: a whole number is needed"),
        (["steps"], "steps: write OPTION=VALUE"),
        (["=5"], "=5: write OPTION=VALUE"),
        (["content=null"], "null is not the name of a file"),
        (["layers=null"], "null is not the name of a file"),
        (["loss=null"], "null is not the name of a file"),
        (["content=file", "content.path=a b=[c.jpg"], "quoted twice"),
        (["content=file", "content.path=/no/such.jpg"], "content.path: no such file"),
        (["content=file", "content.path=/dev/zero"], "content.path: not a regular file"),
        (["content=file", "content.path=~nouser/x"], "~nouser/x: there is no such user"),
        (["content=file", f"content.path={LONG}"], "content.path: cannot read"),
        (["content=file", "content.url=nonsense"], "content.url=nonsense is no address"),
        (["content=file", "content.url=file:///etc/passwd"], "content.url=file:///etc/passwd is no address"),
        (["content=file", 'content.url="http://[x"'], "content.url=http://[x is no address"),
        (["content=nophoto.jpg"], "content=nophoto.jpg: no such file; content=NAME takes one of: anna_hathaway"),
        (["mirror=~nouser"], "~nouser: there is no such user"),
        (["layers.content=relu7_1"], "embedded has no layer 'relu7_1'"),
        (["steps=99999999999999999999"], "steps must be at most 10000000"),
        (["loss.alpha=0", "loss.beta=0"], "there is nothing to optimise"),
        (["style=dots,swell"], "style has several values (dots,swell): write -m style=A,B to sweep them"),
        (["-m", "seed=range(5,5)"], "seed=range(5,5) sweeps nothing"),
        (["-m", "style=glob(x*)"], "style=glob(x*) matches no name; the names: brushwork, candy"),
        (["-m", "hydra/launcher=batch", "hydra.launcher.size=1.5"], "hydra.launcher.size is a number of jobs"),
        (["-m", "hydra/launcher=batch", "hydra.launcher.at_once=0"], "hydra.launcher.at_once is a number of jobs"),
        (
            ["-m", "hydra/launcher=slurm", "hydra.launcher.memry=9"],
            "there is no option hydra.launcher.memry; did you mean hydra.launcher.memory? the options: hydra.launcher.",
        ),
        (["-m", "hydra.launcher.workers=2"], "there is no option hydra.launcher.workers; the group has none"),
        (["hydra.swep.dir=x"], "there is no option hydra.swep; did you mean hydra.sweep? the options: hydra.run, "),
        (["-m", "hydra/launcher=nope"], "hydra/launcher=nope is unknown; one of: batch, processes"),
        (["-m", "style=dots,swell", "--cfg", "job"], "-m and --cfg do not go together"),
        (["--resume"], "write resume=DIR or resume=last"),
        (["--resume=last"], "write resume=DIR or resume=last"),
        (["--nope"], "there is no flag --nope; options are written OPTION=VALUE"),
        (["-x"], "there is no flag -x; options are written OPTION=VALUE"),
        (["--cfg", "nope"], "error: --cfg: invalid choice: 'nope'"),
        (["-m", "content=nothere/"], "content=nothere/: no such file"),
        (["--config-name=nope"], "Cannot find primary config 'nope'"),
        (["experiment=[paper,nope]"], "experiment=nope is unknown; one of: alpha_beta"),
        (["resume=/no/such/folder"], "resume=/no/such/folder: no such folder"),
        (["resume=~nouser/x"], "there is no such user"),
        (["resume={tmp}"], "there is no run in that folder"),
        (["resume={tmp}", "edge=9"], "edge cannot be changed, only steps"),
        (["resume={tmp}", "steps=9"], "there is no run in that folder"),
        (["resume={tmp}", "logger=nope"], "logger=nope is unknown; did you mean none? one of: csv"),
        (["resume={tmp}", "trainer=nope"], "trainer=nope is unknown; one of: auto"),
        (["resume={tmp}", "-m"], "it takes no flags and no sweep"),
        (["resume={tmp}", "captures=[0.5,1"], "captures=[0.5,1 cannot be read"),
        (["resume={tmp}", "mirror=a: b: c"], "mirror=a: b: c cannot be read"),
        ([LONG], "write OPTION=VALUE"),
        ([f"{LONG}=3"], "there is no option xxx"),
        ([f"steps={LONG}"], "a whole number is needed"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_bad_arguments_end_in_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    shown = _fails([each.format(tmp=tmp_path / "run") for each in arguments], monkeypatch, capsys)
    [line] = shown.splitlines()
    assert line.startswith("error: ") and message in line and len(line) <= 1010
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left in ([], ["train.log"]), "nothing half-written"


@pytest.mark.parametrize("folder", ["/proc/x", "/dev/null/x", "{tmp}/file", "{tmp}/" + "x" * 300])
@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_a_run_folder_that_cannot_be_made(
    folder: str, sweep: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    option = "hydra.sweep.dir" if sweep else "hydra.run.dir"
    [line] = _fails([*sweep, f"{option}={folder.format(tmp=tmp_path)}"], monkeypatch, capsys).splitlines()
    assert line.startswith("error: cannot use ") and len(line) < 1010


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "argument", "message"),
    [
        ("src.train", "hydra.run.dir=/proc/x", "error: cannot use /proc/x"),
        ("src.search", "trials=0", "error: trials must be positive"),
        ("src.pretrain", "lerning_rate=1", "error: there is no option lerning_rate"),
        ("src.video", "content.path=missing.mp4", "error: content.path: no such file or folder: missing.mp4"),
        ("src.mesh", "mesh.path=missing.glb", "error: mesh.path: no such file"),
        ("src.dashboard", "mine", "error: mine: write ENTITY/PROJECT"),
        ("src.report", "no/such/folder", "error: no such folder: no/such/folder"),
    ],
)
def test_a_new_python_exits_with_status_2(module: str, argument: str, message: str) -> None:
    """Every command starts where nothing has been imported before."""
    done = new_python("-m", module, argument)
    assert done.returncode == 2 and not done.stdout, done
    assert done.stderr.startswith(message) and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (InputError("wrong"), 2, "error: wrong\n"),
        (NonFiniteLoss("NaN"), 1, "error: NaN\n"),
        (SweepFailed("1 of 2"), 1, "error: 1 of 2\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: cannot write the run folder: No space left"),
        (OSError(errno.EROFS, "Read-only file system", "x"), 2, "error: cannot write x: Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 2, "error: cannot use x: Permission denied"),
        (Interrupted(2, "python -m src.train resume=x"), 130, "interrupted; to resume: python -m src.train resume=x\n"),
        (Interrupted(15, "x"), 143, "interrupted"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (ZeroDivisionError("a bug"), 1, "Traceback"),
    ],
)
def test_exit_statuses(error: BaseException, status: int, shown: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop, plain_errors():
        raise error
    assert stop.value.code == status
    assert capsys.readouterr().err.startswith(shown)


def test_tracebacks_on_request() -> None:
    with pytest.raises(InputError), plain_errors(tracebacks=True):
        raise InputError("wrong")


def test_a_log_file_that_cannot_be_opened_is_no_bug() -> None:
    try:
        try:
            open("/proc/none/train.log")  # noqa: PTH123, SIM115
        except OSError as error:
            raise ValueError("Unable to configure handler 'file'") from error
    except ValueError as error:
        assert explain(error) == "cannot write /proc/none/train.log: No such file or directory"
    assert explain(ValueError("a bug")) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_cannot_be_written_is_no_success() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "src.train", "--help"], cwd=CONF.parent, stdout=full, env=environment, timeout=60,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode != 0
    assert "error: cannot write the output: No space left" in done.stderr and "Traceback" not in done.stderr


def test_help_ends_quietly_where_its_reader_is_gone() -> None:
    """And leaves SIGPIPE as it is: with the system's default, a broken connection to W&B's process ends the caller."""
    call = "import signal; from src.cli.help import show; show('x' * 1_000_000)"
    ignored = f"{call}; assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN"
    with subprocess.Popen(
        [sys.executable, "-c", ignored], cwd=CONF.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


def test_help_marks_what_has_to_be_downloaded(command_here: Callable) -> None:
    shown = command_here("src.train", "--help")
    [content] = re.findall(r"^  content: (.*)\n    downloaded when used: (.*)", shown, re.MULTILINE)
    assert content[0] == "astronaut, cat, coffee, file, rocket" and content[1].startswith("anna_hathaway, beach")


def test_an_argument_that_is_not_utf_8_ends_in_one_line(command: Callable) -> None:
    """In a process of its own: the test runner cannot pass on a log line that is not UTF-8."""
    shown = command("src.train", "content=caf\udce9.jpg", status=2)
    assert shown.stderr.startswith("error: ") and "is not UTF-8" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1
