"""A run's start, made on one core while another is busy importing libraries, which takes no more than one."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Thread

import torch

from src.common.platform import allotted_threads
from src.config.schedule import stages
from src.config.schema import RunConfig
from src.data.images import read_image, to_tensor, working_size
from src.data.sources import Found
from src.training.starts import Starts

# How long Python lets one thread run on while another waits, s. Its own 5 ms, at each of a thousand operations, would
# take longer than these do.
TURN = 0.0001


@contextmanager
def made_ahead(starts: Starts, config: RunConfig, files: Mapping[str, Found]) -> Iterator[None]:
    """Make the start of a run meanwhile, where it takes long and is made on a CPU, and wait for it at the end.

    It is the same to the bit as if it were made later, by more threads.

    Args:
        starts: gets it.
        config: the options.
        files: as `catalogue.find_files` returns them.
    """
    if not _worthwhile(config):
        yield
        return
    threads, turn = torch.get_num_threads(), sys.getswitchinterval()
    thread = Thread(target=_make, args=(starts, config, files), name="start")
    sys.setswitchinterval(TURN)
    thread.start()
    try:
        yield
    finally:
        torch.set_num_threads(threads)  # MKL's products make use of them at once
        thread.join()
        sys.setswitchinterval(turn)


def _worthwhile(config: RunConfig) -> bool:
    on_cpu = config.trainer.accelerator in ("auto", "cpu") and not torch.accelerator.is_available()
    cores = allotted_threads(config.trainer.threads) or torch.get_num_threads()
    return config.init.name == "patchwork" and on_cpu and cores > 1


def _make(starts: Starts, config: RunConfig, files: Mapping[str, Found]) -> None:
    torch.set_num_threads(1)
    edge = stages(config)[0].edge
    with suppress(Exception):  # the run will meet it again where it is told in one line
        content, style = (
            to_tensor(image, working_size(image.size, edge, config.fit))  # type: ignore[arg-type]
            for image in (read_image(files[kind].path, config.max_megapixels) for kind in ("content", "style"))
        )
        checksums = files["content"].sha256, files["style"].sha256
        starts.keep(config, checksums, content, style)
