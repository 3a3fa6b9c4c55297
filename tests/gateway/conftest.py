"""What the tests of the gateway share."""

from __future__ import annotations

from functools import partial

import pytest

from gateway.live.batch import Batch
from gateway.live.verdicts import Verdicts


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway waits for Redis: the machine may be busy with something else, which is no stall."""
    monkeypatch.setattr("gateway.app.Verdicts", partial(Verdicts, patience=5.0))
    monkeypatch.setattr("gateway.app.Batch", partial(Batch, patience=5.0))
