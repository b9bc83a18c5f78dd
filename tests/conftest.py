"""Every test runs without network, account or the user's own caches and settings."""

import http.server
import importlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

# Workers of pytest-xdist share the cores: a thread each, rather than threads that wait for one another. Set before
# PyTorch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Shells start background jobs with SIGINT ignored, which all their processes inherit; tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A whole run in a second or two: two blocks, a small picture of one size, one thread, every term but total variation.
SMALL = (
    *("loss=patches", "loss.tv=0", "canvas.space=laplacian", "schedule=single"),
    *("edge=48", "layers=b", "layers.content=relu2_1", "steps=6", "log_every=2", "checkpoint_every=3"),
    *("logger=none", "trainer=cpu", "trainer.threads=1", "precision=32"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests, so that no worker is at one when the others have nothing left to do."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home = Path(tempfile.mkdtemp(prefix="home", dir=tmp_path_factory.getbasetemp()))
    (home / "cache").mkdir()
    kernels = tmp_path_factory.getbasetemp() / "kernels"  # compiled once, not by every process of every test
    kernels.mkdir(exist_ok=True)
    (home / "cache" / "kernels").symlink_to(kernels)
    for name in list(os.environ):
        if name.startswith(("WANDB_", "SLURM_")):
            monkeypatch.delenv(name)
    for name in ("HYDRA_FULL_ERROR", "STYLE_TRACEBACK", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("STYLE_CACHE", str(home / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    monkeypatch.setattr(os, "fsync", lambda _: None)  # it guards against a power cut, and waits for the disk
    yield
    for handler in logging.getLogger().handlers[:]:
        # Left open by a command that ran in this process; pytest's own handler is of a subclass.
        if type(handler) is logging.FileHandler:
            logging.getLogger().removeHandler(handler)
            handler.close()


@pytest.fixture
def mirror() -> Path:
    """The study's own images, where they are."""
    folder = os.environ.get("STYLE_MIRROR")
    if not folder:
        pytest.skip("STYLE_MIRROR names no folder with the study's images")
    return Path(folder)


@pytest.fixture
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m MODULE ARGUMENTS` from the project's root, in a process of its own."""
    from tests.support.processes import started

    def call(
        module: str, *arguments: str, status: int | None = 0, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        with started(*arguments, module=module, environment=environment) as process:
            done = process.finish()
        assert status is None or done.returncode == status, f"{done.stdout}\n{done.stderr}"
        return done

    return call


@pytest.fixture
def command_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the `main()` of a module in this process, which saves the imports of a new one; return what it printed."""

    def call(module: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # a command before has set it
        capsys.readouterr()
        importlib.import_module(module).main()
        return capsys.readouterr().out

    return call


@pytest.fixture
def refused_here(command_here: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """As `command_here`, for a command that ends with status 2; return what it printed on stderr."""

    def call(module: str, *arguments: str) -> str:
        with pytest.raises(SystemExit) as stop:
            command_here(module, *arguments)
        printed = capsys.readouterr().err
        assert stop.value.code == 2, printed
        return printed

    return call


@pytest.fixture
def wandb_settings() -> Iterator[None]:
    """Make wandb read its settings anew, before the test and after it; the end waits until its files are complete."""
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def small() -> Callable[..., "object"]:
    """Compose the small run, with more overrides on top."""
    from src.config.schema import RunConfig
    from tests.support.configs import composed

    def build(*overrides: str, base: Sequence[str] = SMALL) -> RunConfig:
        return composed([*base, *overrides])

    return build


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def file_server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A file server on this machine, and the folder it serves."""
    served = tmp_path / "served"
    served.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=served))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", served
    server.shutdown()
    server.server_close()
