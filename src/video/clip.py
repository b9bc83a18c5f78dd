"""Stylise a clip: decode it, run frame after frame, encode the results; run again in the same folder, it resumes."""

import dataclasses
import gc
import logging
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import cv2
from PIL import Image

from src.common.errors import OTHER_FOLDER, SAME_COMMAND, InputError, resumed_by
from src.common.files import expanded, sole_writer
from src.common.platform import allotted_threads, cpu_threads
from src.config.schema import Picture, RunConfig, plain, result_file, run_part
from src.data.clips import Clip, Frame, check_installed, even_size, open_clip, read_frames, write_clip
from src.data.images import SMALLEST_SIDE, read_image, read_pixels, working_size, write_image
from src.ops.flow import warping_error
from src.run import run_batch
from src.tracking import names
from src.tracking import record as records
from src.tracking.clip_record import FRAMES, VIDEO, ClipRecord, content_file, frame_name
from src.tracking.command_record import tracked
from src.tracking.loggers import RunLoggers
from src.training.checkpoints import CHECKPOINT
from src.training.loop import find_device
from src.training.progress import Progress
from src.training.setup import Shared
from src.video.config import VideoConfig, check, checksums, content_of, difference
from src.video.links import INPUTS, Link, Start, link, result
from src.video.motion import flow_estimator

log = logging.getLogger(__name__)

WARPING_ERROR = "warping_error"
ANY_LOSS = 1e30  # at which a run stops before its first step: a repeated frame keeps the result of its predecessor


def stylise(config: VideoConfig, folder: Path) -> ClipRecord:
    """Stylise a clip and write `folder/clip.mp4`; each frame is a run in `folder/frames`.

    If the folder holds the same clip, it resumes where it was stopped: at a frame, and there at its checkpoint. A
    finished one is left as it is, and its `clip.mp4` made again where it is missing.

    Raises:
        InputError: an option or a file cannot be used, or the folder holds another clip.
        NonFiniteLoss: the loss of a frame became NaN or infinite.
        Interrupted: SIGINT or SIGTERM; everything is kept.
    """
    check(config)
    check_installed()
    with sole_writer(folder):
        record = _open_record(config, folder)
        finished = record.status == "finished"
        if finished and (folder / VIDEO).exists():
            log.info("already finished: %s", folder)
            return record
        source = open_clip(config.content.path or "", config.video.rate)
        if finished:
            _encode(source, config, folder, record, RunLoggers())
            return record
        record.device = str(find_device(config.trainer))
        with tracked(config.logger, folder, record, "video") as loggers, _timed(record):
            _decode(source, config, folder, record)
            loggers.begin(record, len(record.frames) - 1)
            with cpu_threads(config.trainer.threads):  # of optical flow and warping; runs set their own
                Frames(config, folder, record, loggers).run()
            _encode(source, config, folder, record, loggers)
    return record


def _open_record(config: VideoConfig, folder: Path) -> ClipRecord:
    record = ClipRecord.read(folder)
    if record is None:
        _check_new(folder, config)
        record = ClipRecord(config=plain(config))
    elif differ := difference(config, record.config):
        raise InputError(f"{folder} holds another clip (it differs in {differ}); {OTHER_FOLDER}")
    record.config = plain(config)
    found = checksums(config, local=record.status == "finished")
    for option, (path, sha256) in found.items():
        if record.checksums.get(option, sha256) != sha256:
            raise InputError(f"{option}: {path} has changed since this clip was begun; {OTHER_FOLDER}")
    record.checksums |= {option: sha256 for option, (_, sha256) in found.items()}
    return record


def _check_new(folder: Path, config: VideoConfig) -> None:
    """Check that a folder without a record holds nothing that results would replace, the clip itself included.

    Raises:
        InputError: it does.
    """
    for path in (folder / VIDEO, content_file(folder, plain(config), 0).parent):
        if path.exists():
            raise InputError(f"{folder} holds {path.name}, which this command did not make; {OTHER_FOLDER}")
    source = expanded(config.content.path or "").resolve()  # a link's target may be the original
    if folder.is_dir() and folder.samefile(source if source.is_dir() else source.parent):
        raise InputError(f"the results would be written to {folder}, the clip's own folder; {OTHER_FOLDER}")


@contextmanager
def _timed(record: ClipRecord) -> Iterator[None]:
    """Add the block's wall time to the record; an `Interrupted` inside it names this command as the way to resume."""
    before, begun = record.seconds, time.monotonic()
    try:
        with resumed_by(SAME_COMMAND):
            yield
    finally:
        record.seconds = before + time.monotonic() - begun


def _decode(source: Clip, config: VideoConfig, folder: Path, record: ClipRecord) -> None:
    """Write the frames at their working size into `folder/content`, and what the clip tells into the record."""
    if record.times:
        return
    log.info("decoding %s", source.path)
    times: list[Fraction] = []
    for number, frame in enumerate(read_frames(source, config.video.first, config.video.frames)):
        if not times:
            record.width, record.height = _even_size(frame.image.size, config)
        image = frame.image.resize((record.width, record.height), Image.Resampling.BILINEAR)  # type: ignore[arg-type]
        path = content_file(folder, record.config, number)
        path.parent.mkdir(exist_ok=True)
        image.save(path)
        times.append(frame.time)
    if not times:
        raise InputError(f"{source.path} has no frame {config.video.first}: it ends before")
    record.audio, record.rate = source.audio, str(source.rate)
    record.begin, record.times = str(times[0]), [str(each - times[0]) for each in times]
    record.write(folder)
    log.info("%d frames of %dx%d px at %.4g a second", len(times), record.width, record.height, float(source.rate))


def _even_size(size: tuple[int, int], config: VideoConfig) -> tuple[int, int]:
    width, height = even_size(working_size(size, config.edge, config.fit))  # type: ignore[arg-type]
    if min(width, height) < SMALLEST_SIDE:
        raise InputError(f"edge={config.edge} makes the frames {width}x{height} px; choose a larger edge")
    return width, height


class Frames:
    """Runs the frames of a clip one after another, in one or several passes.

    Args:
        config: of the clip.
        folder: of the clip.
        record: its frames are decoded.
        loggers: get a row a frame.
    """

    def __init__(self, config: VideoConfig, folder: Path, record: ClipRecord, loggers: RunLoggers) -> None:
        self.config, self.folder, self.record, self.loggers = config, folder, record, loggers
        self.base = dataclasses.replace(
            run_part(config), edge=max(record.width or 0, record.height or 0), captures=[1.0],
            logger=dataclasses.replace(config.logger, name="none"),
        )  # fmt: skip
        self.encoders: dict[str, Shared] = {}
        self.flow = flow_estimator(config.video.flow, find_device(config.trainer), config.mirror)
        if threads := allotted_threads(config.trainer.threads):
            cv2.setNumThreads(threads)

    def run(self) -> None:
        """Run all frames that are not finished."""
        count, passes = self.record.count, self.config.video.passes
        jobs = [(pass_number, place) for pass_number in range(passes) for place in range(count)]
        done = next((at for at, job in enumerate(jobs) if not self._finished(*job)), len(jobs))
        at, told = done, ""
        progress = Progress(len(jobs), done, lambda: (at, told), unit="frame")
        progress.on_train_start(None, None)  # type: ignore[arg-type]
        try:
            for job in jobs[done:]:
                told = self._run(*job)
                at += 1
                progress.on_train_batch_end()
        finally:
            progress.close()

    def _number(self, pass_number: int, place: int) -> int:
        """Return the number of the frame at a place of a pass; odd passes go backwards."""
        return self.record.count - 1 - place if pass_number % 2 else place

    def _path(self, pass_number: int, number: int) -> Path:
        """Return the folder of a frame's run: that of the last pass is in `frames`."""
        last = pass_number == self.config.video.passes - 1
        return self.folder / (FRAMES if last else f"pass-{pass_number + 1}") / frame_name(number)

    def _content(self, number: int) -> Path:
        return content_file(self.folder, self.record.config, number)

    def _finished(self, pass_number: int, place: int) -> bool:
        number = self._number(pass_number, place)
        last = pass_number == self.config.video.passes - 1
        if last and str(number) not in self.record.frames:
            return False
        folder = self._path(pass_number, number)
        found = records.read(folder)
        return found is not None and found.status == "finished" and not (folder / CHECKPOINT).exists()

    def _run(self, pass_number: int, place: int) -> str:
        """Run one frame; return a line about it."""
        number, begun = self._number(pass_number, place), time.monotonic()
        folder = self._path(pass_number, number)
        neighbours, links = self._neighbours(pass_number, number)
        if self.config.video.linked and (neighbours or pass_number):
            config = self._linked(pass_number, number, folder, neighbours, links)
        else:
            config = dataclasses.replace(self.base, content=self._own_content(number))
        with _quiet():
            (found,) = run_batch([(config, folder)], progress=False, encoders=self.encoders)
        if isinstance(found, BaseException):
            raise found
        losses = found.captures[-1].losses
        values = {names.loss_key(name): value for name, value in losses.items() if "/" not in name}
        if links:
            other = result(self._path(pass_number, neighbours[0]), self.base)
            values[WARPING_ERROR] = warping_error(result(folder, self.base), other, links[0].flow, links[0].visible)
        values[names.SECONDS] = time.monotonic() - begun
        (folder / CHECKPOINT).unlink(missing_ok=True)
        if pass_number == self.config.video.passes - 1:  # a frame is finished once it is logged, and logged once
            self._log(place, number, values, folder / result_file(self.base))
        shutil.rmtree(folder / INPUTS, ignore_errors=True)
        gc.collect()  # Lightning's modules hold on to their trainers in cycles
        text = f"loss {losses[names.TOTAL_TERM]:.4g}"
        return f"{text}, warping error {values[WARPING_ERROR]:.2e}" if WARPING_ERROR in values else text

    def _own_content(self, number: int) -> Picture:
        return content_of(self.config, str(self._content(number)))

    def _neighbours(self, pass_number: int, number: int) -> tuple[list[int], list[Link]]:
        """Return the frames that a frame is linked to, nearest first, all of its scene, and the links to them."""
        back = -1 if pass_number % 2 else 1
        if not 0 <= number - back < self.record.count:
            return [], []
        nearest = link(self._content(number), self._content(number - back), self.flow)
        if pass_number == 0 and nearest.found < self.config.video.cut and number not in self.record.cuts:
            log.info("a scene begins at frame %d", number)
            self.record.cuts.append(number)
            self.record.write(self.folder)
        neighbours, links = [], []
        for offset in self.config.video.offsets if self.config.video.linked else [1]:
            other = number - back * offset
            if not 0 <= other < self.record.count or self._cut_between(number, other):
                break
            neighbours.append(other)
            same = offset == 1
            links.append(nearest if same else link(self._content(number), self._content(other), self.flow))
        return neighbours, links

    def _cut_between(self, one: int, other: int) -> bool:
        return any(min(one, other) < cut <= max(one, other) for cut in self.record.cuts)

    def _linked(
        self, pass_number: int, number: int, folder: Path, neighbours: list[int], links: list[Link]
    ) -> RunConfig:  # fmt: skip
        """Return the run of a frame that is linked to others, its files written."""
        start, trainer = Start.within(folder, len(neighbours)), self.config.trainer
        schedule = self.base.schedule
        if schedule.name == "pyramid":
            schedule = dataclasses.replace(schedule, name="single", sizes=1, last=None)
        if not all(path.is_file() for path in start.files):
            pixels = read_pixels(self._content(number))
            beneath = (
                result(self._path(pass_number - 1, number), self.base) if pass_number else pixels.color(pixels.size)
            )
            results = [result(self._path(pass_number, other), self.base) for other in neighbours]
            if links:
                start.write(beneath, links, results, self.config.video.blend if pass_number else 1.0)
            else:
                write_image(start.init, beneath[0], depth=16)
        return dataclasses.replace(
            self.base,
            content=self._own_content(number),
            init=dataclasses.replace(self.base.init, name="frame", path=str(start.init)),
            reference=dataclasses.replace(
                self.base.reference, images=list(map(str, start.references)), weights=list(map(str, start.weights))
            ),
            steps=self.config.video.steps,
            # with so few steps measuring whether to compile takes longer than it saves
            trainer=dataclasses.replace(trainer, compile="never" if trainer.compile == "auto" else trainer.compile),
            stop_at_loss=ANY_LOSS if links and links[0].repeated and not pass_number else self.base.stop_at_loss,
            schedule=schedule,
        )

    def _log(self, place: int, number: int, values: dict[str, float], picture: Path) -> None:
        self.record.frames[str(number)] = values
        self.record.write(self.folder)
        self.loggers.log_point(values, place, picture)


@contextmanager
def _quiet() -> Iterator[None]:
    """Show warnings alone of what runs log inside the block."""
    logger = logging.getLogger("src")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _encode(source: Clip, config: VideoConfig, folder: Path, record: ClipRecord, loggers: RunLoggers) -> None:
    """Write `clip.mp4` of the results, with the sound of the clip."""
    files = [folder / FRAMES / frame_name(number) / result_file(config) for number in range(record.count)]
    path = folder / VIDEO
    begin, times = Fraction(record.begin), map(Fraction, record.times)
    frames = (Frame(read_image(file), begin + time) for file, time in zip(files, times, strict=True))
    write_clip(path, frames, Fraction(record.rate), source.path if record.audio else None)
    loggers.log_files({names.VIDEO: path}, record.count)
    error = record.mean(WARPING_ERROR)
    log.info(
        "%s: %d frames, scenes: %d%s", path, record.count, 1 + len(record.cuts),
        "" if error is None else f", warping error {error:.2e}",
    )  # fmt: skip
    log.info("report: python -m src.report %s", shlex.quote(str(folder)))
