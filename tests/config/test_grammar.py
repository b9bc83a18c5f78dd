"""Values in Hydra's grammar are quoted where it needs it, and only there."""

from src.config.grammar import override_value


def test_names_are_quoted_where_hydra_needs_it() -> None:
    assert override_value("runs/one") == "runs/one"
    assert [override_value(name)[0] for name in ("Bilder/größe", "a b", "a=b")] == ['"', '"', '"']
