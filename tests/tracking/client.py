"""Log a short run to each of several W&B servers: `python -m tests.tracking.client FOLDER URL ...`.

Prints one line a server: seconds to open, log and close, and the steps in `metrics.csv`.
"""

import itertools
import logging
import os
import sys
import time
from pathlib import Path

from src.config.schema import Logger
from src.tracking.loggers import open_loggers
from tests.tracking.records import ExampleRecord


def main(folder: Path, urls: list[str]) -> None:
    """Log to one server after the other."""
    import wandb

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    for number, url in enumerate(urls):
        os.environ["WANDB_BASE_URL"] = url
        wandb.teardown()  # forget the settings of the server before
        record = ExampleRecord()
        run = folder / str(number)
        run.mkdir(parents=True)
        times = [time.monotonic()]
        loggers = open_loggers(Logger(), run, record, {"steps": 6}, "example")
        loggers.begin(record, -1)
        times.append(time.monotonic())
        for step in range(0, 8, 2):
            loggers.log_point({"loss/total": 1.0 / (1 + step)}, step)
            time.sleep(0.2)
        times.append(time.monotonic())
        record.status = "finished"
        loggers.close(record)
        times.append(time.monotonic())
        spent = [after - before for before, after in itertools.pairwise(times)]
        print(f"run {number}:", *(f"{each:.1f}" for each in spent), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
