"""Prepare command-line arguments for Hydra: check flags, resolve image files, expand globs.

Hydra's glob knows all names of a group and no files; here it takes the images that are on this machine.
"""

import glob
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString

from src.common.errors import InputError
from src.common.files import expanded
from src.config.options import group_options, option_names, several_values, unknown_option
from src.config.schema import group_names, known_picture
from src.data.sources import PICTURE_SUFFIXES, find_picture

IMAGES = ("content", "style")
FILES = tuple(f"{kind}.path" for kind in (*IMAGES, "init"))
MASKS = tuple(f"{kind}.mask" for kind in IMAGES)
OTHERS = ("mesh.path", "canvas.views")  # files that are no images


def prepared(arguments: Sequence[str], schema: type) -> list[str]:
    """Return the arguments to hand to Hydra.

    Raises:
        InputError: an unknown flag or option, a missing image file, a sweep without values, text that is not UTF-8.
    """
    _check_text(arguments)
    overrides = _overrides(arguments)
    mirror = next((each.partition("=")[2].strip("'\"") for each in overrides if each.startswith("mirror=")), None)
    names = ("experiment", *option_names(schema))
    values = dict(each.lstrip("+").partition("=")[::2] for each in overrides)
    groups = [name.removesuffix(".path") for name in FILES if values.get(name, "null") != "null"]
    result = [f"{group}=file" for group in groups if group not in values]  # content.path=FILE by itself
    for override in overrides:
        key, equals, value = override.partition("=")
        if override.startswith("~loss.substitute."):  # in the command that a report gives for such a run
            result.append(override)
            continue
        if key.startswith("~"):
            raise InputError(f"{override}: an option cannot be removed; leave it out to have its default")
        if not key or not equals:
            example = f", such as content={override}" if _exists(override) and "content" in names else ""
            raise InputError(f"{override}: write OPTION=VALUE{example}")
        if not key.lstrip("+").startswith("hydra"):
            key = key.lstrip("+")
            if key not in names and not key.startswith("loss.substitute."):
                raise InputError(unknown_option(key, schema))
            # Hydra would compose all files of the list, one over the other, which leaves the last one
            if key in group_options(schema) and re.search(r"(^|,)\[", value) and not _exists(value):
                raise InputError(several_values(key, value, schema))
        if key in getattr(schema, "folder_names", ()) and value not in group_names(key) and _is_folder(value):
            result += [f"{key}=file", f"{key}.path={_quoted(value)}"]
            continue
        free = key in getattr(schema, "free_names", ()) and _is_free_name(key, value)
        result += [f"{key}.name={value}"] if free else _resolved(key, value, mirror)
    # flags last: Hydra's parser does not take overrides on both sides of a flag
    result += [argument for argument in arguments if argument not in overrides]
    _check_text(result)
    return result


def _check_text(arguments: Sequence[str]) -> None:
    if unreadable := [each for each in arguments if re.search("[\ud800-\udfff]", each)]:
        raise InputError(f"{unreadable[0]!r} is not UTF-8; rename the file")


def _overrides(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that are not flags, as Hydra's parser reads them."""

    def refuse(message: str) -> NoReturn:
        if flag := re.match(r"unrecognized arguments: (--?[\w-]+)", message):
            message = f"there is no flag {flag[1]}; options are written OPTION=VALUE"
        if flag and flag[1] == "--resume":
            raise InputError("write resume=DIR or resume=last")
        message = re.sub(r"^argument (--[^/:]+)[^:]*", r"\1", message)  # argparse adds the flag's short form
        raise InputError(f"{message}; see --help")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_intermixed_args(list(arguments)).overrides


def _is_free_name(group: str, value: str) -> bool:
    """Return whether a value, or a sweep over values, is neither a file of conf/GROUP, an image, nor a function."""
    return not ("(" in value or set(value.split(",")) <= {*group_names(group), "null"} or _exists(value))


def _resolved(key: str, value: str, mirror: str | None) -> list[str]:
    """Return the overrides that stand for one: of image files their paths, of a glob what it matches."""
    if key.split(".")[:2] == ["loss", "substitute"]:  # a dict, whose keys Hydra's schema does not know
        return [f"++{key}={value}"]
    if key in IMAGES and value not in group_names(key) and (paths := _image_files(key, value)):
        return [f"{key}=file", f"{key}.path={','.join(paths)}"]
    if key in (*FILES, *MASKS):
        if found := re.fullmatch(r"glob\((.+)\)", value):
            return [f"{key}={','.join(_matching(key, found[1].strip(chr(34) + chr(39))))}"]
        if value and _exists(value):
            return [f"{key}={_quoted(value)}"]
    if key in OTHERS and value and _exists(value):
        return [f"{key}={_quoted(value)}"]
    if value.startswith("~"):
        hydras = key in (
            "hydra.run.dir",
            "hydra.sweep.dir",
        )  # Hydra does not expand it; this program does its own paths
        return [f"{key}={_quoted(str(expanded(value)) if hydras else value)}"]
    if "(" in value:
        override = OverridesParser.create().parse_overrides([f"{key}={value}"])[0]
        if isinstance(override.value(), Glob):
            return [f"{key}={','.join(_names(key, override, mirror))}"]
        if override.is_discrete_sweep() and next(override.sweep_string_iterator(), None) is None:
            raise InputError(f"{key}={value} sweeps nothing: it has no values")
    return [f"{key}={value}"]


def _image_files(kind: str, value: str) -> list[str]:
    """Return the quoted paths of the image files that `content=VALUE` names: a file, a folder, or several of them.

    Raises:
        InputError: files are mixed with names, missing, or a folder has none.
    """
    parts = [value] if _exists(value) else [part.strip() for part in value.split(",")]
    named = [part for part in parts if part in group_names(kind)]
    files = [part for part in parts if part and part not in named and _exists(part)]
    if named and files:
        raise InputError(f"{kind}={value} mixes files with names; sweep them one after the other")
    missing = [
        part for part in parts if part not in files and ("/" in part or Path(part).suffix.lower() in PICTURE_SUFFIXES)
    ]
    if missing:
        raise InputError(f"{kind}={missing[0]}: no such file; {kind}=NAME takes one of: {', '.join(group_names(kind))}")
    if len(files) < len(parts):
        return []
    return [path for part in parts for path in (_folder(part) if expanded(part).is_dir() else [_quoted(part)])]


def _exists(path: str) -> bool:
    try:
        return expanded(path).exists()
    except OSError:  # too long a name, or a folder that may not be searched
        return False


def _is_folder(path: str) -> bool:
    return bool(path) and _exists(path) and expanded(path).is_dir()


def _folder(folder: str) -> list[str]:
    return _matching(folder, f"{glob.escape(str(expanded(folder)))}/*")


def _matching(source: str, pattern: str) -> list[str]:
    """Return the quoted paths of the image files that match a pattern."""
    found = map(Path, sorted(glob.glob(str(expanded(pattern)), recursive=True)))  # noqa: PTH207 may be absolute
    paths = [path for path in found if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()]
    if not paths:
        raise InputError(f"{source}: {pattern} matches no image file ({' '.join(PICTURE_SUFFIXES)})")
    return [_quoted(str(path)) for path in paths]


def _names(group: str, override: Override, mirror: str | None) -> list[str]:
    """Return the names of a group that a glob matches, without images that must be downloaded.

    Raises:
        InputError: there are none.
    """
    pattern = override.value()
    assert isinstance(pattern, Glob)
    matching = [name for name in pattern.filter(group_names(group)) if group not in IMAGES or name != "file"]
    if not matching:
        names = ", ".join(group_names(group)) or f"{group} is not a group"
        raise InputError(f"{override.input_line} matches no name; the names: {names}")
    here = [name for name in matching if group not in IMAGES or _is_here(group, name, mirror)]
    left = ", ".join(name for name in matching if name not in here)
    if not here:
        raise InputError(f"{override.input_line} matches no image on this machine; to download, write {group}={left}")
    if left:
        print(f"{override.input_line} leaves out images that have to be downloaded: {left}", file=sys.stderr)
    return here


def _is_here(kind: str, name: str, mirror: str | None) -> bool:
    try:
        find_picture(kind, known_picture(kind, name), mirror, download=False)
    except InputError:
        return False
    return True


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.double).with_quotes()
