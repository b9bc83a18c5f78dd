"""Check the options of a run, before any file is read; importing this loads no torch."""

from src.config.schema import RunConfig
from src.config.validation import validate
from src.encoders.registry import check_backbone
from src.transfer.terms.registry import check_terms


def check_options(config: RunConfig) -> None:
    """Check all options: values and ranges, the network with its taps, and the style terms.

    Raises:
        InputError: with the bad value and the right ones.
    """
    validate(config)
    check_backbone(config)
    check_terms(config)
