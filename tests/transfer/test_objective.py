"""The objective: its terms, their weights, batches, and the values of the presets."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from src.config.composition import compose
from src.encoders.registry import encoder_spec
from src.transfer.objective import Objective, build_objective, style_weights, used_taps
from src.transfer.terms.base import Inputs
from tests.support.prepare import prepare


def waves(seed: int, height: int, width: int) -> Tensor:
    """Return a picture in closed form, (1, 3, H, W) in float64, the same to the last bits everywhere."""
    rows, columns = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    return torch.stack([
        0.5 + 0.3 * torch.sin(0.37 * rows + 0.11 * (seed + channel) * columns)
        + 0.2 * torch.cos(0.9 * (seed + 1) * columns / (1 + channel) - 0.2 * rows)
        for channel in range(3)
    ])[None]  # fmt: skip


@pytest.mark.parametrize(
    ("backbone", "preset", "loss", "gradient_norm"),
    [
        ("embedded", "experiment=paper", 207107.99367640095, 192981.82413677598),
        ("embedded", "loss=equations", 12800127.978958461, 6276357.071556151),
        ("embedded", "loss=normalized", 2.594904220062687, 0.7981461195105451),
        ("embedded", "loss=patches", 4.072800908447015, 1.7420741348483135),
        ("vgg19", "experiment=paper", 605.3128363568924, 317.66777819440017),
        ("vgg19", "loss=equations", 28337.276017297892, 6301.686237453523),
        ("vgg19", "loss=normalized", 0.4882420790812958, 0.07306357516630457),
        ("vgg19", "loss=patches", 1.9863095237597184, 0.2632178070118551),
    ],
)
def test_the_presets_equal_the_values_of_version_0_1(
    backbone: str, preset: str, loss: float, gradient_norm: float
) -> None:
    """The numbers were computed in float64 at commit 3fa0c2e, before the objective became a table of terms.

    With `waves` as above, for each backbone and preset:

        from src.backbones.weights import build_extractor
        from src.composition import compose
        from src.objective import Objective, Taps

        config = compose([preset, f"backbone={backbone}", f"backbone.weights={weights}"])  # as below
        taps = Taps.of(config)
        extractor = build_extractor(config.backbone, taps.all)[0].double()
        content, style, image = waves(0, 64, 48), waves(1, 48, 64), waves(2, 64, 48).requires_grad_()
        objective = Objective(extractor, taps, config.loss, extractor.normalize(content), extractor.normalize(style))
        total = objective(extractor.normalize(image)).total
        total.sum().backward()
        print(total.item(), image.grad.norm().item())

    Sides are multiples of 16, because that version's blur pooling rounded odd sizes down.
    """
    weights = "trained" if backbone == "embedded" else "random"
    # the defaults of that version
    then = (
        [
            "layers.content=relu3_1",
            "loss.block_weights=null",
            "loss.palette=1",
            "loss.beta=10",
            "loss.self_similarity=0",
            "loss.tv=0",
        ]
        if preset == "loss=patches"
        else []
    )
    config = compose([preset, *then, f"backbone={backbone}", f"backbone.weights={weights}"])
    encoder, _ = encoder_spec(backbone).build(config.backbone, used_taps(config), None)
    objective = build_objective(config, encoder.double(), Inputs.of(waves(0, 64, 48), waves(1, 48, 64)))
    image = waves(2, 64, 48).requires_grad_()
    total = objective(image).total
    total.sum().backward()
    assert total.item() == pytest.approx(loss, rel=1e-6)
    assert image.grad is not None and image.grad.norm().item() == pytest.approx(gradient_norm, rel=1e-6)


def test_a_layer_with_patches_shares_its_weight_between_style_and_patch_term(small: Callable) -> None:
    """With share s, the style term has (1 - s) w_l and the patch term s w_l; block 1 has statistics alone."""

    def losses(share: float) -> dict[str, float]:
        prepared = prepare(small(f"loss.patches={share}", "layers.weights=[0.3,0.7]"))
        with torch.no_grad():
            return prepared.objective(prepared.image.render(), full=True).metrics()[0]

    none, whole, quarter = losses(0), losses(1), losses(0.25)
    parts = ("loss/style/relu1_1", "loss/style/relu2_1")
    assert [none[part] for part in parts] == [whole[part] for part in parts] == [quarter[part] for part in parts]
    statistics = [none[part] for part in parts]
    patches = whole["loss/patches/relu2_1"]
    assert quarter["loss/patches/relu2_1"] == patches != pytest.approx(statistics[1], rel=0.01)
    assert not any("patches" in name for name in none) and "loss/patches/relu1_1" not in whole
    for share, found in ((0, none), (0.25, quarter), (1, whole)):
        assert found["loss/style"] == pytest.approx(0.3 * statistics[0] + 0.7 * (1 - share) * statistics[1], rel=1e-6)
        assert found.get("loss/patches", 0.0) == pytest.approx(0.7 * share * patches, rel=1e-6)


def test_the_total_is_the_weighted_sum_of_the_terms(small: Callable) -> None:
    config = small(
        "loss=patches", "loss.alpha=2", "loss.beta=7", "loss.palette=0.5", "loss.tv=3", "loss.self_similarity=5"
    )
    prepared = prepare(config)
    (found,) = prepared.objective(prepared.image.render() * 0.9).metrics()
    expected = 2 * (found["loss/content"] + 5 * found["loss/self_similarity"]) + 7 * (
        found["loss/style"] + found["loss/patches"]
    )
    expected += 7 * 0.5 * found["loss/palette"] + 3 * found["loss/tv"]
    assert found["loss/total"] == pytest.approx(expected, rel=1e-6)
    assert all(value > 0 for value in found.values())


def test_terms_of_weight_zero_are_computed_for_reports_alone(small: Callable) -> None:
    prepared = prepare(small("loss.alpha=0", "loss=moments", "loss.palette=0", "init=noise"))
    image = prepared.image.render()
    assert "loss/content" not in prepared.objective(image).metrics()[0]
    full = prepared.objective(image, full=True).metrics()[0]
    assert full["loss/content"] > 0
    assert full["loss/total"] == pytest.approx(10 * full["loss/style"], rel=1e-6)


def test_a_batch_of_two_equals_two_singles(small: Callable) -> None:
    prepared = prepare(small())
    objective = prepared.objective
    images = torch.rand(2, *prepared.inputs.content.shape[1:], generator=torch.Generator().manual_seed(0))
    batch = images.clone().requires_grad_()
    together = objective(batch)
    together.total.sum().backward()
    for index in range(2):
        single = images[index : index + 1].clone().requires_grad_()
        objective.load_search_state()
        alone = objective(single)
        alone.total.sum().backward()
        torch.testing.assert_close(together.total[index : index + 1], alone.total, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(batch.grad[index : index + 1], single.grad, rtol=1e-3, atol=1e-8)


def test_a_joined_objective_equals_its_members(small: Callable) -> None:
    """Two styles, weights of their own; all terms."""
    own = (("style=dots", "loss.alpha=3"), ("style=swell", "loss.beta=2", "layers.weights=[0.9,0.1]"))
    members = [prepare(small(*each, "loss.tv=1", "precision=64")) for each in own]
    images = torch.cat([member.inputs.content * 0.8 for member in members])
    together = Objective.join([member.objective for member in members])(images).metrics()
    for index, member in enumerate(members):
        (alone,) = member.objective(images[index : index + 1]).metrics()
        assert together[index] == pytest.approx(alone, rel=1e-9)


def test_search_results_are_kept_until_they_are_cleared(small: Callable) -> None:
    prepared = prepare(small())
    objective, image = prepared.objective, prepared.image.render().detach()
    assert not objective.searched and objective.search_state() == {}
    objective(image)
    state = objective.search_state()
    assert objective.searched and list(state) == ["patches"] and list(state["patches"]) == ["relu2_1"]
    objective(image.flip(3))
    assert torch.equal(objective.search_state()["patches"]["relu2_1"], state["patches"]["relu2_1"])
    objective.load_search_state()
    objective(image.flip(3))
    assert not torch.equal(objective.search_state()["patches"]["relu2_1"], state["patches"]["relu2_1"])
    expected = objective(image.flip(3)).total
    objective.load_search_state(state)
    assert objective(image.flip(3)).total != expected
    assert torch.equal(objective.search_state()["patches"]["relu2_1"], state["patches"]["relu2_1"])


def test_the_style_image_keeps_its_own_size(small: Callable) -> None:
    prepared = prepare(small("content=coffee"))
    assert prepared.inputs.content.shape == (1, 3, 32, 48)
    assert prepared.objective.terms["style"].target["relu1_1"].positions == 48 * 36


def test_style_layers_are_averaged_or_summed_as_the_loss_form_says(small: Callable) -> None:
    taps = ("relu1_1", "relu2_1", "relu3_1")
    assert style_weights(small("layers=c", "loss=normalized")) == dict.fromkeys(taps, pytest.approx(1 / 3))
    assert style_weights(small("layers=c", "loss=published")) == dict.fromkeys(taps, 1.0)
    assert style_weights(small("layers.weights=[2,3]")) == {"relu1_1": 2.0, "relu2_1": 3.0}


def test_style_weights_by_block_sum_to_one(small: Callable) -> None:
    weights = style_weights(small("loss=moments", "layers=e"))
    assert list(weights.values()) == pytest.approx([1 / 11.5, 1 / 11.5, 6 / 11.5, 3 / 11.5, 0.5 / 11.5])
    assert style_weights(small("loss=moments", "layers=a")) == {"relu1_1": 1.0}
    several = style_weights(small("loss.block_weights=[1,3]", "layers.style=[relu1_2,relu2_1,relu2_2,relu3_1]"))
    assert several == {"relu1_2": 0.1, **dict.fromkeys(("relu2_1", "relu2_2", "relu3_1"), pytest.approx(0.3))}
