"""A record for tests of the loggers, without a run."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class ExampleRecord:
    """The attributes that loggers read."""

    status: str = "running"
    wandb_id: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = "c0ffee"

    def found(self) -> dict[str, Any]:
        """Return what a setup determines."""
        return {"device": "cpu", "precision": "32"}

    def summary(self) -> dict[str, Any]:
        """Return results."""
        return {"status": self.status, "ssim": 0.5, "score": None, "loss/total": 0.125}
