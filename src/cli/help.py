"""What `python -m src.train --help` shows. Without Hydra, which would take a second to say the same."""

import dataclasses
import signal
import textwrap
from collections.abc import Collection, Iterator

from src.config.schema import CONF, RunConfig, group_names

HELP = """\
python -m src.train [-m] [GROUP=NAME ...] [OPTION=VALUE ...]

One picture in the style of another, by optimisation; -m sweeps comma-separated values and crosses them.

Without arguments: astronaut in the style of brushwork, {steps} steps at {edge} px.

  python -m src.train content=beach style=udnie steps=300
  python -m src.train -m style='glob(*,exclude=file)' layers=a,c,e loss.beta=5,20
  python -m src.train content=file 'content.path="my photo, 1.jpg"' style=dots
  python -m src.train resume=last

Groups (GROUP=NAME)

{groups}

Options (OPTION=VALUE, with the schema's defaults; a group's file may set others)

{options}

--cfg job shows the composed configuration without running it. hydra.sweep.dir=DIR chooses the folder of a sweep;
started again in the same folder, it skips what is finished. Hydra's own flags: --hydra-help
"""


PRETRAIN_HELP = """\
python -m src.pretrain images=FOLDER [OPTION=VALUE ...]

Trains the embedded backbone on the pictures of a folder, by telling them apart. The defaults are the recipe of the
weights that this package ships; how it came about is in src/assets/embedded.md.

  python -m src.pretrain images=photos
  python -m src.train backbone.weights=multirun/pretrain/embedded.safetensors

Stopped, the same command goes on. hydra.run.dir=DIR chooses another folder.

Options (OPTION=VALUE)

{options}
"""


SEARCH_HELP = """\
python -m src.search [GROUP=NAME ...] [OPTION=VALUE ...]

Searches content weight, style weight, layer weights and learning rate of a run for the best trade-offs: near to the
style (patch distance) and near to the content (SSIM), the one against the other. Each trial is a run with its record,
in a folder of its own below the study's; the first is the run as it is given.

  python -m src.search content=coffee style=brushwork trials=20
  python -m src.search content=cat style=dots layers=c space.lr=null space.beta=[3,300]

Stopped or killed, the same command goes on; with more trials it adds to them. At the end it shows the trials that no
other beats in both, and writes them to front.csv beside the study; python -m src.report FOLDER shows all of them.

Options (OPTION=VALUE), beside those of python -m src.train --help

{options}
"""


def _options(schema: type) -> Iterator[tuple[str, dataclasses.Field]]:
    for field in dataclasses.fields(schema):
        if not dataclasses.is_dataclass(field.type):
            yield field.name, field
            continue
        for nested in dataclasses.fields(field.type):
            if nested.name != "name":  # chosen by the group: GROUP=NAME
                yield f"{field.name}.{nested.name}", nested


def show(text: str) -> None:
    """Print a help text; a reader that has seen enough (| head) is no error."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(text)


def option_names(schema: type = RunConfig) -> list[str]:
    """Return the names of all options and groups."""
    groups = [field.name for field in dataclasses.fields(schema) if dataclasses.is_dataclass(field.type)]
    return [*groups, *(name for name, _ in _options(schema))]


def help_text() -> str:
    """Return what `--help` shows: the groups with their names, and every option with its default and meaning."""
    config = RunConfig()
    return HELP.format(steps=config.steps, edge=config.edge, groups=_groups(), options=_option_lines(RunConfig))


def pretrain_help(schema: type) -> str:
    """Return what `python -m src.pretrain --help` shows."""
    return PRETRAIN_HELP.format(options=_option_lines(schema))


def search_help(schema: type, names: Collection[str]) -> str:
    """Return what `python -m src.search --help` shows, of the options those that begin with one of the names."""
    return SEARCH_HELP.format(options=_option_lines(schema, names))


def _groups() -> str:
    groups = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")
    found = [f"{group}: {', '.join(group_names(group))}" for group in groups]
    return "\n".join(textwrap.fill(f"  {line}", 116, subsequent_indent="      ") for line in found)


def _option_lines(schema: type, only: Collection[str] | None = None) -> str:
    found = [(name, field) for name, field in _options(schema) if only is None or name.partition(".")[0] in only]
    lines = [f"  {f'{name}={_default(field)}':<36} {field.metadata['help']}" for name, field in found]
    return "\n".join(lines)


def _default(field: dataclasses.Field) -> str:
    missing = field.default is dataclasses.MISSING
    value = field.default_factory() if missing else field.default  # type: ignore[operator]
    return "null" if value is None else str(value).replace(" ", "").replace("'", "")
