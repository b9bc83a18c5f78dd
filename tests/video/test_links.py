"""Flow, scene cuts, warped starts and weights, on clips of known motion."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from src.ops.flow import nearest_first, softened, warp, warping_error
from tests.support.clips import moving, real_clip, texture, write_folder

pytest.importorskip("cv2")
from src.data.images import read_pixels
from src.video.links import Start, link
from src.video.motion import dis


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)[None]


def test_dis_finds_the_motion_of_a_camera() -> None:
    first, second = moving(2, 96, 72, speed=3)
    flow = dis(second, first)
    assert flow.shape == (1, 2, 72, 96)
    inside = flow[..., 12:-12, 12:-12]
    assert float((inside[:, 0] - 3).abs().median()) < 0.15 and float(inside[:, 1].abs().median()) < 0.15


@pytest.mark.parametrize("size", [(8, 8), (64, 10), (12, 40), (33, 31)])
def test_dis_takes_small_frames(size: tuple[int, int]) -> None:
    image = texture(*size)
    assert dis(image, image).shape == (1, 2, size[1], size[0])


def test_dis_on_real_photographs_with_true_disparity() -> None:
    from skimage.data import stereo_motorcycle

    left, right, disparity = stereo_motorcycle()
    flow = dis(Image.fromarray(left), Image.fromarray(right))[0, 0].numpy()
    known = np.isfinite(disparity)
    assert np.median(np.abs(flow + disparity)[known]) < 0.6, "published for this estimator: 0.41 px"


def test_links_tell_motion_from_a_cut(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "frames", [*moving(2, 96, 72), texture(96, 72, seed=9), texture(96, 72, seed=9)])
    files = sorted(folder.iterdir())
    moved, cut, still = (link(files[at], files[at - 1], dis) for at in (1, 2, 3))
    assert moved.found > 0.85 and cut.found < 0.3 and still.found == 1.0
    assert not bool(still.flow.any()) and bool(still.reliable.all())


def test_a_cut_between_frames_of_one_colour_is_found(tmp_path: Path) -> None:
    black, white = (Image.new("RGB", (64, 48), colour) for colour in ("black", "white"))
    files = sorted(write_folder(tmp_path / "frames", [black, white]).iterdir())
    assert link(files[1], files[0], dis).found == 0


def test_the_start_is_the_content_where_the_frame_before_hides_it(tmp_path: Path) -> None:
    frames = moving(3, 96, 72)
    files = sorted(write_folder(tmp_path / "frames", frames).iterdir())
    links = [link(files[2], files[at], dis) for at in (1, 0)]
    results = [_tensor(frames[at].transpose(Image.Transpose.FLIP_TOP_BOTTOM)) for at in (1, 0)]
    beneath = _tensor(frames[2])
    start = Start.within(tmp_path / "run", 2)
    start.write(beneath, links, results)
    assert len(start.files) == 5 and all(path.is_file() for path in start.files)

    read = [read_pixels(path).color((96, 72)) for path in start.files]
    init, first, second, one, two = read
    soft = softened(links[0].visible)
    warped = warp(results[0], links[0].flow)[0]
    torch.testing.assert_close(init, torch.lerp(beneath, warped, soft), rtol=0, atol=1 / 65535)
    hidden = (links[0].visible == 0).expand(-1, 3, -1, -1)
    assert bool(hidden.any()) and torch.allclose(init[hidden], beneath[hidden], atol=1 / 65535)
    torch.testing.assert_close(first, warped, rtol=0, atol=1 / 65535)
    torch.testing.assert_close(second, warp(results[1], links[1].flow)[0], rtol=0, atol=1 / 65535)
    expected = nearest_first([softened(each.reliable) for each in links])
    for weight, mine in zip((one, two), expected, strict=True):
        torch.testing.assert_close(weight[:, :1], mine, rtol=0, atol=1 / 255)
    assert float((one + two).max()) <= 1 + 1 / 255


def test_the_warping_error_is_zero_for_a_result_that_moves_with_the_content(tmp_path: Path) -> None:
    frames = moving(2, 96, 72)
    files = sorted(write_folder(tmp_path / "frames", frames).iterdir())
    between = link(files[1], files[0], dis)
    earlier = _tensor(texture(96, 72, seed=5))
    moved = warp(earlier, between.flow)[0]
    assert warping_error(moved, earlier, between.flow, between.visible) == pytest.approx(0, abs=1e-12)
    assert warping_error(moved + 0.1, earlier, between.flow, between.visible) == pytest.approx(0.01, rel=1e-3)


def test_scenes_of_a_real_clip(tmp_path: Path) -> None:
    from src.data.clips import open_clip, read_frames

    clip = open_clip(real_clip("bikes.mp4"))
    frames = [frame.image.resize((160, 68)) for frame in read_frames(clip, first=20, count=60)]
    files = sorted(write_folder(tmp_path / "frames", frames).iterdir())
    found = [link(files[at], files[at - 1], dis).found for at in range(1, len(files))]
    cuts = [20 + at for at, share in enumerate(found, 1) if share < 0.4]
    assert cuts == [30, 76], "as one sees them"
