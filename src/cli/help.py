"""Print text: the help of the commands, made from the schemas without importing Hydra, which takes a second."""

import dataclasses
import os
import sys
import textwrap
from collections.abc import Collection

from src.config.options import options_of
from src.config.schema import CONF, RunConfig, group_names
from src.data.networks import shipped

HELP = """\
python -m src.train [-m] [GROUP=NAME ...] [OPTION=VALUE ...]

Paint one image in the style of another by optimisation; -m sweeps comma-separated values and crosses them.

Without arguments: astronaut in the style of brushwork, {steps} steps at {edge} px.

  python -m src.train content=cat style=swell steps=100
  python -m src.train content=photo.jpg style=painting.jpg
  python -m src.train -m style='glob(*)' layers=a,c,e loss.beta=5,20
  python -m src.train -m content=FOLDER style=dots
  python -m src.train resume=last

Groups (GROUP=NAME; content and style also take a file, and with -m a folder or several files)

{groups}

Options (OPTION=VALUE, with the schema's defaults; a group's file may set others)

{options}

glob(PATTERN) sweeps the names of a group that match, of images those that are on this machine. --cfg job shows the
composed configuration without running it. hydra.sweep.dir=DIR chooses the folder of a sweep; started again in the same
folder, it skips finished runs. hydra/launcher=batch, processes, slurm or ray runs jobs together: docs/cluster.md.
Hydra's own flags: --hydra-help
"""


PRETRAIN_HELP = """\
python -m src.pretrain images=FOLDER [OPTION=VALUE ...]

Distil a teacher network, VGG-16, into the embedded backbone: a compact VGG whose activations predict the teacher's. The
defaults are the recipe of the weights in this package; src/assets/embedded.md describes it. VGG-16's weights (528 MB)
are downloaded once.

  python -m src.pretrain images=photos
  python -m src.pretrain images=photos teacher_weights=vgg16-397923af.pth
  python -m src.pretrain images=photos teacher=none texture=1 diversity=0.5 scene=1 layout=1 lr=0.002 steps=7000
  python -m src.train backbone.weights=multirun/pretrain/embedded.safetensors

The same command resumes a training that was stopped. hydra.run.dir=DIR chooses another folder.

Options (OPTION=VALUE)

{options}
"""


SEARCH_HELP = """\
python -m src.search [GROUP=NAME ...] [OPTION=VALUE ...]

Search style weight, layer weights and learning rate of a run for the best trade-offs between closeness to the style
(patch distance) and to the content (SSIM). Each trial is a run with a record in a folder of its own below the study's;
the first is the run as given.

  python -m src.search content=coffee style=brushwork trials=20
  python -m src.search content=cat style=dots layers=c space.lr=null space.beta=[3,300]

The same command resumes a study that was stopped, and adds trials where it asks for more. At the end it lists the
trials that no other beats in both measures and writes them to front.csv in the study's folder;
python -m src.report FOLDER shows all of them.

Options (OPTION=VALUE), in addition to those of python -m src.train --help

{options}
"""


VIDEO_HELP = """\
python -m src.video content.path=CLIP [GROUP=NAME ...] [OPTION=VALUE ...]

Stylise a video clip, or a folder of frames, with the same objective as for single pictures. A frame starts from the
frame before, warped by optical flow, and stays near it where the flow can be trusted; the first frame of each scene is
a run as python -m src.train makes it. The result, clip.mp4, keeps frame rate, rotation and sound.

  python -m src.video content.path=clip.mp4 style=dots
  python -m src.video content.path=frames video.rate=30 style=painting.jpg video.frames=100
  python -m src.video -m content.path=clip.mp4 style=dots,swell

The same command resumes a clip that was stopped. hydra.run.dir=DIR chooses another folder.
Needs the extra video, which make setup installs.

Options (OPTION=VALUE), in addition to those of python -m src.train --help

{options}
"""


MESH_HELP = """\
python -m src.mesh mesh.path=MODEL [GROUP=NAME ...] [OPTION=VALUE ...]

Paint the texture of a 3D model (.glb, .gltf or .obj with UV coordinates) in the style of an image. The texture is
optimised through views of the model from all sides. The folder of the job, below multirun/mesh/, then holds model.glb,
the texture image.png, turntable.webp, and the views at each capture. Needs the extra mesh, which
make setup installs.

  python -m src.mesh mesh.path=model.glb style=swell
  python -m src.mesh mesh.path=model.obj style=painting.jpg edge=512 mesh.views=20 mesh.size=384
  python -m src.mesh -m mesh.path=model.glb style=dots,tesserae loss.beta=5,20

The same command resumes a job that was stopped. edge is the long side of the texture, mesh.size that of a view;
style_scale is relative to a view.

Options (OPTION=VALUE), in addition to those of python -m src.train --help

{options}
"""


DISTILL_HELP = """\
python -m src.distill images=FOLDER [GROUP=NAME ...] [OPTION=VALUE ...]

Train a feed-forward network with the style losses (Johnson et al. 2016), so that it stylises in one pass. Its objective
is what python -m src.train minimises for a single picture. The folder of the training, below multirun/distill/, then
holds network.safetensors and held_out.jpg, what the network makes of photographs that it was not trained on.

  python -m src.distill images=photos style=dots
  python -m src.distill images=photos style=dots 'styles=[swell,my.jpg]' network=half steps=12000
  python -m src.distill -m images=photos style=dots,swell loss.beta=5,20
  python -m src.paint weights=multirun/distill/dots-small-3fa81c2d/network.safetensors content.path=photo.jpg

The same command resumes a training that was stopped. hydra.run.dir=DIR chooses another folder.

Options (OPTION=VALUE)

{options}
"""


PAINT_HELP = """\
python -m src.paint [content=NAME | content.path=PICTURES] [OPTION=VALUE ...]

Stylise a picture, a folder of pictures, a clip or a camera's picture in one pass of a feed-forward network. The results
are in a folder below multirun/paint/.

  python -m src.paint content=cat
  python -m src.paint content.path=photo.jpg style=swell edge=1024
  python -m src.paint content.path=photos weights=multirun/distill/dots-small-3fa81c2d/network.safetensors
  python -m src.paint content.path=clip.mp4 shares=[0.5,0.5,0,0]
  python -m src.paint content.path=camera serve=8800 edge=384
  python -m src.paint export=own.onnx

Networks that come with the program: {networks}. python -m src.distill trains others.

Options (OPTION=VALUE)

{options}
"""


def show(text: str) -> bool:
    """Print text, quietly when the reader has closed the pipe early (`| head`); return whether it was written.

    Exit with status 1 and one line on stderr where the output cannot be written, as on a full disk.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit does not fail
        return False
    except OSError as error:
        sys.exit(f"error: cannot write the output: {error.strerror}")
    return True


def help_text() -> str:
    """Return the help of `python -m src.train`: the groups with their names, the options with default and meaning."""
    config = RunConfig()
    return HELP.format(steps=config.steps, edge=config.edge, groups=_groups(), options=_option_lines(RunConfig))


def options_help(text: str, schema: type, names: Collection[str] | None = None) -> str:
    """Return a help text, such as `SEARCH_HELP`, with the options that begin with one of the names; None: all."""
    return text.format(options=_option_lines(schema, names), networks=", ".join(shipped()))


def _groups() -> str:
    groups = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")
    lines = []
    for group in groups:
        online = [name for name in group_names(group) if "\nurl:" in (CONF / group / f"{name}.yaml").read_text()]
        lines.append(f"{group}: {', '.join(name for name in group_names(group) if name not in online)}")
        lines += [f"  downloaded when used: {', '.join(online)}"] * bool(online)
    return "\n".join(textwrap.fill(line, 116, initial_indent="  ", subsequent_indent="      ") for line in lines)


def _option_lines(schema: type, only: Collection[str] | None = None) -> str:
    found = [(name, field) for name, field in options_of(schema) if only is None or name.partition(".")[0] in only]
    lines = [f"  {f'{name}={_default(field)}':<36} {field.metadata['help']}" for name, field in found]
    return "\n".join(lines)


def _default(field: dataclasses.Field) -> str:
    missing = field.default is dataclasses.MISSING
    value = field.default_factory() if missing else field.default  # type: ignore[operator]
    return "null" if value is None else str(value).replace(" ", "").replace("'", "")
