"""A trained model on disk, made ready: checked by SHA-256, run by onnxruntime, its logits turned into probabilities."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from classifiers.tokens import Layout, Window

SHIPPED = Path(__file__).parent / "models" / "wardgate-guard-1"
Logits = NDArray[np.float32]
INPUTS = ("ids", "segments", "judged")


class ModelError(Exception):
    """The model folder is not what it says it is; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What `model.json` says of a model."""

    name: str
    version: str
    labels: tuple[str, ...]
    files: Mapping[str, str]
    """File name -> SHA-256."""
    slopes: tuple[float, ...]
    intercepts: tuple[float, ...]
    """Of the calibration (Platt, 1999): probability = sigmoid(slope * logit + intercept), label by label."""
    thresholds: Mapping[str, float]
    """Category -> probability from which on the model's makers would block: chosen on held-out data."""
    penalty: float
    """Taken from the calibrated log-odds of a text for each doubling of its windows; see `Model.scores`."""

    @classmethod
    def read(cls, path: Path) -> Facts:
        try:
            raw: dict[str, Any] = json.loads(path.read_text())
            calibration = raw["calibration"]
            return cls(
                raw["name"],
                raw["version"],
                tuple(raw["labels"]),
                raw["files"],
                tuple(calibration[label][0] for label in raw["labels"]),
                tuple(calibration[label][1] for label in raw["labels"]),
                raw["thresholds"],
                raw["penalty"],
            )
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise ModelError(f"{path} cannot be read ({type(error).__name__}): install the package again") from None


@dataclass(frozen=True, slots=True)
class Model:
    """The network, its tokenizer and its facts."""

    facts: Facts
    layout: Layout
    session: onnxruntime.InferenceSession

    @classmethod
    def load(cls, folder: Path = SHIPPED, *, threads: int = 1) -> Model:
        """Raises ModelError when a file is missing or another one than `model.json` names."""
        facts = Facts.read(folder / "model.json")
        for name, expected in facts.files.items():
            check(folder / name, expected)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        return cls(facts, Layout.of(Tokenizer.from_file(str(folder / "tokenizer.json"))), session)

    def logits(self, windows: Sequence[Window]) -> Logits:
        """One row a window, one column a label.

        Each window goes through the network by itself. The int8 network takes the range of its activations from all
        that it is given at once, so in company a text would score by its neighbours, whom others choose; and padding
        costs more on a CPU than batches save.
        """
        return np.concatenate([self._run(window) for window in windows])

    def _run(self, window: Window) -> Logits:
        values = (window.ids, window.segments, window.judged)
        arrays = {name: np.array([row], dtype=np.int64) for name, row in zip(INPUTS, values, strict=True)}
        return np.asarray(self.session.run(["logits"], arrays)[0], dtype=np.float32)

    def scores(self, logits: Iterable[Logits]) -> dict[str, float]:
        """The probabilities of a text from the logits of all its windows.

        The rule: the highest calibrated log-odds of any window, less `penalty` for each doubling of their number (a
        long text has more chances to look bad by accident), but never below the mean.
        """
        facts = self.facts
        rows = np.stack(list(logits)).astype(np.float64)
        odds = rows * np.array(facts.slopes) + np.array(facts.intercepts)
        worst = np.maximum(odds.max(axis=0) - facts.penalty * np.log2(len(rows)), odds.mean(axis=0))
        chances = 1.0 / (1.0 + np.exp(-np.clip(worst, -30.0, 30.0)))
        return dict(zip(facts.labels, chances.tolist(), strict=True))


def check(path: Path, expected: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        raise ModelError(f"{path} is missing: install the package again") from None
    if found != expected:
        raise ModelError(f"{path} has SHA-256 {found}, not {expected}: install the package again")
