"""The network as it was trained, in torch: what int8 is compared with. Needs the extra `train`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from classifiers.classifier import Sample
from classifiers.tokens import Window
from classifiers.training.network import fresh


def torch_run(checkpoint: Path) -> Callable[[Sequence[Sample], Sequence[Window]], Awaitable[object]]:
    """Runs batches of windows of one length, on one thread."""
    torch.set_num_threads(1)
    network = fresh()
    network.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
    network.eval()

    async def run(_: Sequence[Sample], windows: Sequence[Window]) -> object:
        ids, segments, judged = (
            torch.tensor(np.array([getattr(w, n) for w in windows])) for n in ("ids", "segments", "judged")
        )
        with torch.inference_mode():
            return network(ids, torch.ones_like(ids), segments, judged)

    return run
