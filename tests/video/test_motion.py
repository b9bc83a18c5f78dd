"""RAFT with weights made at random: its download, its checks, its inputs, and a clip from end to end."""

import hashlib
from pathlib import Path

import pytest
import torch

from src.common.errors import InputError
from tests.support.clips import moving, texture, write_folder
from tests.video.clips import TINY, compose_clip

pytest.importorskip("cv2")
from src.video import motion
from src.video.motion import Raft, flow_estimator

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of weights that fits RAFT; its flow means nothing."""
    from torchvision.models.optical_flow import raft_large

    path = tmp_path_factory.mktemp("raft") / "raft.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(raft_large().state_dict(), path)
    return path.read_bytes()


@pytest.fixture
def address(file_server: tuple[str, Path], weights: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Serve the weights in place of torchvision's; return the file that is served."""
    root, served = file_server
    (served / "raft-random.pth").write_bytes(weights)
    monkeypatch.setattr(motion, "RAFT_URL", f"{root}/raft-random.pth")
    monkeypatch.setattr(motion, "RAFT_SHA256", hashlib.sha256(weights).hexdigest()[:8])
    return served / "raft-random.pth"


def test_the_address_is_that_of_torchvision() -> None:
    from torchvision.models.optical_flow import Raft_Large_Weights

    assert Raft_Large_Weights.DEFAULT.url == motion.RAFT_URL
    assert motion.RAFT_URL.endswith(f"-{motion.RAFT_SHA256}.pth"), "torch.hub reads the checksum from the name"


def test_weights_are_downloaded_checked_and_cached(
    address: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    whole = address.read_bytes()
    address.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"sent a file with sha256 .*; nothing was kept"):
        Raft(CPU)
    monkeypatch.setattr("src.data.sources._FAILED", {})
    address.write_bytes(whole)
    raft = Raft(CPU)
    assert (tmp_path / "cache/weights/raft-random.pth").read_bytes() == whole
    address.unlink()
    again = Raft(CPU)
    assert all(torch.equal(*pair) for pair in zip(raft.network.parameters(), again.network.parameters(), strict=True))


def test_without_a_network_the_error_names_file_and_choices(
    address: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(motion, "RAFT_URL", "http://127.0.0.1:9/raft-random.pth")
    with pytest.raises(InputError, match="cannot download http") as told:
        Raft(CPU)
    for needed in (str(tmp_path / "cache/weights/raft-random.pth"), "mirror=DIR", "or use video.flow=dis"):
        assert needed in str(told.value)
    (tmp_path / "mirror/weights").mkdir(parents=True)
    (tmp_path / "mirror/weights/raft-random.pth").write_bytes(address.read_bytes())
    assert isinstance(flow_estimator("raft", CPU, str(tmp_path / "mirror")), Raft)


def test_weights_of_another_network_are_told(address: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.zeros(1)}, address)
    monkeypatch.setattr(motion, "RAFT_SHA256", hashlib.sha256(address.read_bytes()).hexdigest())
    with pytest.raises(InputError, match="does not fit torchvision's raft_large") as told:
        Raft(CPU)
    assert "\n" not in str(told.value)


def test_the_network_gets_what_torchvision_prepares(address: Path) -> None:
    from torchvision.models.optical_flow import Raft_Large_Weights

    raft, (first, second) = Raft(CPU), moving(2, 136, 128, speed=3)
    with torch.no_grad():
        expected = raft.network(*(each[None] for each in Raft_Large_Weights.DEFAULT.transforms()(first, second)))[-1]
    torch.testing.assert_close(raft(first, second), expected, rtol=1e-4, atol=1e-3)
    small = raft(texture(50, 30), texture(50, 30, seed=1))
    assert small.shape == (1, 2, 30, 50) and bool(torch.isfinite(small).all())


def test_a_clip_with_raft(address: Path, tmp_path: Path) -> None:
    """`video.cut=0`, because by the flow of random weights nothing is found again and every frame begins a scene."""
    from src.video.clip import stylise

    source = write_folder(tmp_path / "frames", moving(2, 64, 48))
    config = compose_clip(*TINY, f"content.path={source}", "video.flow=raft", "video.cut=0")
    record = stylise(config, tmp_path / "out")
    assert record.status == "finished" and record.cuts == [] and len(record.frames) == 2
    assert "warping_error" in record.frames["1"] and "loss/reference" in record.frames["1"]
    assert (tmp_path / "out/clip.mp4").stat().st_size > 0
