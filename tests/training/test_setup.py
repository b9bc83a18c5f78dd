"""Working sizes of images."""

from types import SimpleNamespace

import pytest

from src.common.errors import InputError
from src.config.composition import compose
from src.training.setup import check_size


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        (128, r"^with edge=128 style_scale=0\.1 the style image would be 13x4 px, .*: use edge=\d+ or more$"),
        (
            64,
            r"^at the 64 px pyramid level \(edge=128 style_scale=0\.1\) the style image would be 6x2 px, but the "
            r"selected layers need a short side of at least 16 px: use edge=\d+ or more, or schedule=single$",
        ),
    ],
)
def test_advice_for_an_image_that_is_too_narrow_is_about_the_runs_edge(edge: int, message: str) -> None:
    image, config = SimpleNamespace(size=(900, 300)), compose(["edge=128"])
    with pytest.raises(InputError, match=message) as error:
        check_size("style", image, config, edge, 16, 0.1)  # type: ignore[arg-type]
    advised = int(str(error.value).rpartition("edge=")[2].split()[0])
    stage = round(advised * edge / 128)
    assert min(check_size("style", image, compose([f"edge={advised}"]), stage, 16, 0.1)) >= 16  # type: ignore[arg-type]
