"""The runs of a report: gathered from their records, named, ordered, and grouped by what differs between them."""

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from src.common.errors import InputError
from src.common.files import is_locked
from src.common.tables import plain_text
from src.config.schema import picture_name
from src.report import options as words
from src.report.reproduction import implied_options
from src.tracking import record as records
from src.tracking.clip_record import clip_of, is_later_frame
from src.tracking.record import Capture, RunRecord

ATTRIBUTES = (*words.PAIR, "status")  # of a run that reports treat like options


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder with its record.

    Attributes:
        content, style: names of the images; different images have different names.
        options: every option that the result depends on, except the pair, as `result_options` returns them.
        texts: the options' values as text; different values have different texts.
        on_front: whether it is a trial that no other trial of its study beats in both SSIM and patch distance.
    """

    folder: Path
    record: RunRecord
    content: str
    style: str
    options: dict[str, Any]
    texts: dict[str, str]
    on_front: bool

    @property
    def pair(self) -> tuple[str, str]:
        """Return the names of content and style."""
        return self.content, self.style

    @property
    def status(self) -> str:
        """Return the status of the record as one line."""
        return plain_text(self.record.status)

    @property
    def finished(self) -> bool:
        """Return whether it ran to its end."""
        return self.record.status == "finished"

    @cached_property
    def implied(self) -> frozenset[str]:
        """Return the options whose values follow from the names chosen, as layers.style does from layers=a."""
        return implied_options(self.record, self.options)

    def label(self, names: Iterable[str], *, status: bool = True) -> list[str]:
        """Return the labels of options, of a continued run, of a trial on the front, and of another status."""
        lines = [words.label_of(name, self.texts[name]) for name in names if name in self.texts]
        lines += [f"continued from step {self.record.continued_step}"] if self.record.continued_from else []
        lines += ["on the front"] if self.on_front else []
        return lines if self.finished or not status else [*lines, f"({self.status})"]

    def value_of(self, name: str) -> str:
        """Return the text of an option, or of one of `ATTRIBUTES`."""
        return str(getattr(self, name)) if name in ATTRIBUTES else self.texts.get(name, "–")

    def place(self, capture: Capture) -> str:
        """Return how far along the run a capture is: "33 %"."""
        steps = self.record.options.steps
        return f"{round(100 * capture.step / steps)} %" if steps else f"step {capture.step}"

    def reason(self) -> str | None:
        """Return the error of a run, or why it is not running although its status says so."""
        if self.record.status == "running" and not is_locked(self.folder):
            return "no process holds its folder: it was killed, or it runs on another machine"
        return plain_text(self.record.error) if self.record.error else None


def warn(message: str) -> None:
    """Print one line on stderr."""
    print(f"warning: {plain_text(message)}", file=sys.stderr)


def gather(folders: Iterable[Path]) -> list[Run]:
    """Return every run below the folders, once, ordered by pair and options.

    A record that cannot be read is left out with a warning. Of the frames of a clip only the first is part of the
    report, unless a folder holds nothing else.

    Raises:
        InputError: a folder does not exist, or holds no readable record.
    """
    found: dict[Path, tuple[Path, RunRecord]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"no such folder: {folder}")
        below = {run.resolve(): (run, record) for run, record in records.scan(folder, damaged=warn)}
        if not below:
            raise InputError(f"{folder} holds no run record ({records.FILE}) that can be read")
        found |= {run: each for run, each in below.items() if not is_later_frame(run)} or below
    return name_runs(list(found.values()))


def name_runs(found: Sequence[tuple[Path, RunRecord]]) -> list[Run]:
    """Return runs with names for their images and texts for their options, in order."""
    contents, styles = (_picture_names([record for _, record in found], kind) for kind in words.PAIR)
    options = [words.result_options(record) for _, record in found]
    front = _front(found)
    parts = zip(found, contents, styles, options, _texts(options), strict=True)
    runs = [
        Run(folder, record, content, style, values, texts, folder in front)
        for (folder, record), content, style, values, texts in parts
    ]
    return sorted(runs, key=_order)


def _order(run: Run) -> tuple[Any, ...]:
    ranks = {name: words.rank(name, value) for name, value in run.options.items()}
    return (*run.pair, *(ranks.get(name, (3,)) for name in words.WORDS), sorted(ranks.items()))


def _picture_names(found: Sequence[RunRecord], kind: str) -> list[str]:
    """Return the name of each run's content or style image, with a digest where different images share a name."""
    pictures = [getattr(record.options, kind) for record in found]
    sources = [repr((each.path, each.package, each.url, each.sha256)) for each in pictures]
    measured = [getattr(record, f"{kind}_sha256") for record in found]
    known = {source: sha256 for source, sha256 in zip(sources, measured, strict=True) if sha256}
    guessed = {source: hashlib.sha256(source.encode(errors="surrogateescape")).hexdigest() for source in sources}
    digests = [own or known.get(source, guessed[source]) for own, source in zip(measured, sources, strict=True)]
    names = [plain_text(picture_name(each)) for each in pictures]
    images = Counter(name for name, _ in set(zip(names, digests, strict=True)))
    return [f"{name} ({digest[:6]})" if images[name] > 1 else name for name, digest in zip(names, digests, strict=True)]


def _texts(options: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the values of options as text: in four digits, or in all where that is needed to tell values apart."""
    found: list[dict[str, str]] = [{} for _ in options]
    for name in dict.fromkeys(name for each in options for name in each):
        values = {repr(each[name]): each[name] for each in options if name in each}
        for digits in (4, 17):
            texts = {key: words.written(name, value, digits) for key, value in values.items()}
            if len(set(texts.values())) == len(values):
                break
        else:
            texts = {key: plain_text(key) for key in values}
        for each, text in zip(options, found, strict=True):
            if name in each:
                text[name] = texts[repr(each[name])]
    return found


def _front(found: Sequence[tuple[Path, RunRecord]]) -> set[Path]:
    """Return the folders of trials that no other trial of their study beats in both SSIM and patch distance."""
    studies: dict[tuple[Path, str | None], list[tuple[Path, float, float]]] = defaultdict(list)
    for folder, record in found:
        if record.options.trial is not None and record.ssim is not None and record.patch_distance is not None:
            study = (folder.resolve().parent, record.options.study)
            studies[study].append((folder, -record.ssim, record.patch_distance))
    return {
        folder
        for trials in studies.values()
        for folder, *aims in trials
        if not any(other != aims and all(map(float.__le__, other, aims)) for _, *other in trials)
    }


def newest_sweep(root: Path) -> Path:
    """Return the folder of the latest sweep in which a run finished; of the latest sweep if none did.

    Raises:
        InputError: there is no record below `root`.
    """
    files = filter(Path.is_file, root.rglob(records.FILE))
    found = sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    if not found:
        raise InputError(f"no run record below {root}/; start a run, or name a folder")
    newest = next(filter(_is_finished, found), found[0]).parent
    newest = clip_of(newest) or newest
    return newest if newest.parent == root else newest.parent


def _is_finished(path: Path) -> bool:
    try:
        record = records.read(path.parent)
    except InputError:
        return False
    return record is not None and record.status == "finished"


def means_by(runs: Iterable[Run], names: Sequence[str], measure: str) -> dict[tuple[str, ...], float]:
    """Return the mean of a measure over the finished runs with each combination of values of options or attributes."""
    found: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for run in runs:
        if run.finished and (value := getattr(run.record, measure)) is not None:
            found[tuple(map(run.value_of, names))].append(value)
    return {values: fmean(some) for values, some in found.items()}


def swept(runs: Iterable[Run]) -> list[str]:
    """Return what differs between runs: content, style, and the options that `varying` returns."""
    runs = list(runs)
    return [*(kind for kind in words.PAIR if len({run.value_of(kind) for run in runs}) > 1), *varying(runs)]


def varying(runs: Iterable[Run]) -> list[str]:
    """Return the options that differ between runs, except those that follow from a name that differs."""
    runs = list(runs)
    found = []
    for name in words.in_order({name: None for run in runs for name in run.options}):
        values = {run.texts.get(name) for run in runs}
        if name == "precision":
            values -= {None}  # not decided yet where a run failed early
        if len(values) > 1 and not all(name in run.implied for run in runs):
            found.append(name)
    return found


def left_out(pairs: Collection[tuple[str, ...]], most: int) -> str:
    """Return a sentence if a figure shows only the first `most` contents or styles: " Of 80 contents the first 60."."""
    counts = [len({pair[at] for pair in pairs}) for at in range(len(words.PAIR))]
    told = zip(words.PAIR, counts, strict=True)
    return "".join(f" Of {count} {kind}s the first {most}." for kind, count in told if count > most)


def values_of(name: str, runs: Iterable[Run]) -> list[str]:
    """Return the values of an option or attribute as text, each once: numbers by value, names by the alphabet."""
    found = {run.value_of(name): run for run in runs}
    if name in ATTRIBUTES:
        return sorted(found)
    known = {text: words.rank(name, run.options[name]) if name in run.options else (3,) for text, run in found.items()}
    return sorted(known, key=known.__getitem__)


def alike(runs: Iterable[Run], free: Iterable[str]) -> list[Run]:
    """Return the largest group of runs that agree in every option except the free ones and what follows from them."""
    groups: dict[frozenset[tuple[str, str]], list[Run]] = defaultdict(list)
    for run in runs:
        left = run.texts.keys() - set(free) - run.implied
        groups[frozenset((name, run.texts[name]) for name in left)].append(run)
    return max(groups.values(), key=len, default=[])


def grouped(runs: Sequence[Run], most: int) -> dict[str, list[Run]]:
    """Return runs by the label of the first option, style or content that parts them into 2 to `most` groups."""
    for name in (*varying(runs), "style", "content"):
        values = values_of(name, runs)
        if 1 < len(values) <= most:
            parted = {value: [run for run in runs if run.value_of(name) == value] for value in values}
            return {shown_value(name, value): some for value, some in parted.items()}
    return {"": list(runs)}


def shown_value(name: str, value: str) -> str:
    """Return the label of an option's value, or the name of a content or style."""
    return value.replace("_", " ") if name in words.PAIR else words.label_of(name, value)


def shared_places(places: Sequence[Sequence[str]]) -> list[str | None]:
    """Return for each position the place that all lists have there; None where they differ or repeat one."""
    columns = [{each[at] for each in places if at < len(each)} for at in range(max(map(len, places), default=0))]
    found = [column.pop() if len(column) == 1 else None for column in columns]
    return [place if found.count(place) == 1 and None not in found[:at] else None for at, place in enumerate(found)]
