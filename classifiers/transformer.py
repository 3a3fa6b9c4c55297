"""Any local or hub sequence-classification model as a classifier. Loading needs `wardgate[hf]`, importing does not."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from classifiers.batching import Batching, Limits, Row
from classifiers.classifier import Role, Sample, Scores
from classifiers.model import ModelError

BOTH: frozenset[Role] = frozenset({"prompt", "response"})
PROMPT: frozenset[Role] = frozenset({"prompt"})

USUAL = 512
"""Tokens of a window where neither the model nor its tokenizer names a limit."""
OVERLAP = 64
"""Tokens that neighbouring windows share, or a quarter of a window where that is less."""
AT_ONCE = 16384
"""Tokens in one run of the network, so that windows of thousands of tokens do not fill the memory."""


@dataclass(frozen=True, slots=True)
class Preset:
    """How a well-known model is loaded: `Transformer.load(path, preset.labels, …)`."""

    labels: Mapping[str, str]
    roles: frozenset[Role]
    remote_code: bool = False
    """It brings code of its own, which runs in this process: read it, pin a `revision`."""


PROMPT_GUARD_2 = Preset({"LABEL_1": "jailbreak"}, PROMPT)
"""Meta's card speaks of benign and malicious; the published configurations have LABEL_0 and LABEL_1."""
TOXIC_BERT = Preset(
    {
        "toxic": "toxicity",
        "severe_toxic": "toxicity",
        "obscene": "toxicity",
        "threat": "toxicity",
        "insult": "toxicity",
        "identity_hate": "hate",
    },
    BOTH,
)
PIGUARD = Preset({"injection": "injection"}, PROMPT, remote_code=True)

PRESETS: Mapping[str, Preset] = {
    "meta-llama/Llama-Prompt-Guard-2-86M": PROMPT_GUARD_2,
    "meta-llama/Llama-Prompt-Guard-2-22M": PROMPT_GUARD_2,
    "unitary/toxic-bert": TOXIC_BERT,
    "leolee99/PIGuard": PIGUARD,
}


class Window(NamedTuple):
    """Token ids with the model's own marks around them, and their segments."""

    ids: list[int]
    segments: list[int]


@dataclass(frozen=True, slots=True)
class Head:
    """What the model's outputs mean."""

    columns: Mapping[str, tuple[int, ...]]
    """Category -> the outputs that count for it."""
    independent: bool
    """Each output is a yes or no of its own (sigmoid), instead of one choice among all (softmax)."""

    @classmethod
    def of(cls, config: Any, labels: Mapping[str, str]) -> Head:
        names = [str(config.id2label[i]) for i in range(len(config.id2label))]
        if unknown := sorted(set(labels) - set(names)):
            raise ModelError(f"the model has no label {', '.join(unknown)}: it has {', '.join(names)}")
        if not labels or config.problem_type == "regression":
            raise ModelError("name at least one label of a model that classifies: a regression has no probabilities")
        columns = {c: tuple(i for i, n in enumerate(names) if labels.get(n) == c) for c in labels.values()}
        # One output alone can only be a yes or no: softmax would call it certain, always.
        return cls(columns, config.problem_type == "multi_label_classification" or len(names) == 1)

    def scores(self, logits: Row) -> dict[str, float]:
        """The highest probability of any window, category by category."""
        rows = logits.astype(np.float64)
        if self.independent:
            chances = 1.0 / (1.0 + np.exp(-np.clip(rows, -60.0, 60.0)))
            return {c: float(chances[:, at].max()) for c, at in self.columns.items()}
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
        chances = powers / powers.sum(axis=1, keepdims=True)
        return {c: min(1.0, float(chances[:, at].sum(axis=1).max())) for c, at in self.columns.items()}


@dataclass(frozen=True, slots=True)
class Network:
    """A loaded model behind `Batching`; a `Scorer`."""

    torch: Any
    model: Any
    tokenizer: Tokenizer
    head: Head
    device: str
    pad: int | None
    """None: the model cannot tell padding from text, so its windows run one by one."""
    segmented: bool

    def cut(self, samples: Sequence[Sample]) -> list[list[Window]]:
        found: list[Encoding] = self.tokenizer.encode_batch([s.text for s in samples])
        # An empty text may have no token at all, which networks do not take.
        blank = Window([self.pad or 0], [0])
        return [[Window(e.ids, e.type_ids) if e.ids else blank for e in (first, *first.overflowing)] for first in found]

    def rows(self, windows: Sequence[Window]) -> Row:
        width = max(len(w.ids) for w in windows)
        step = max(1, AT_ONCE // width) if self.pad is not None else 1
        parts = [self._run(windows[i : i + step]) for i in range(0, len(windows), step)]
        return np.concatenate(parts)

    def scores(self, sample: Sample, rows: Sequence[Row]) -> Scores:
        return self.head.scores(np.stack(rows))

    def _run(self, windows: Sequence[Window]) -> Row:
        arrays = {
            "input_ids": padded([w.ids for w in windows], self.pad or 0),
            "attention_mask": padded([[1] * len(w.ids) for w in windows], 0),
        }
        if self.segmented:
            arrays["token_type_ids"] = padded([w.segments for w in windows], 0)
        with self.torch.inference_mode():
            given = {name: self.torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
            return np.asarray(self.model(**given).logits.float().cpu().numpy(), dtype=np.float32)


class Transformer:
    """Implements `Classifier`. `start()` before use. A response is read without its prompt."""

    def __init__(
        self, name: str, version: str, network: Network, roles: frozenset[Role], limits: Limits | None
    ) -> None:
        self.name = name
        self.version = version
        self.categories = frozenset(network.head.columns)
        self.thresholds: Mapping[str, float] = {}
        self._roles = roles
        self.network = network
        self._batching = Batching(network, limits)

    @classmethod
    def load(
        cls,
        path: str | Path,
        labels: Mapping[str, str],
        name: str,
        device: str = "cpu",
        *,
        roles: frozenset[Role] = BOTH,
        revision: str = "main",
        remote_code: bool = False,
        threads: int = 1,
        limits: Limits | None = None,
    ) -> Transformer:
        """A model from a folder or the hub; blocks while it loads. Raises ModelError where it cannot serve.

        `labels`: the model's label -> our category, for the labels that count; where several make one category, its
        probability is their sum in a model that chooses one label, their maximum in one that may give many.
        `roles`: what it may judge; samples of another role get no scores. `threads`: torch's, for the whole process.
        """
        torch, tokenizer, model = read(str(path), device, revision=revision, trust_remote_code=remote_code)
        torch.set_num_threads(threads)
        network = Network(
            torch,
            model,
            windowed(tokenizer, width(model, tokenizer)),
            Head.of(model.config, labels),
            device,
            getattr(model.config, "pad_token_id", None),
            "token_type_ids" in inspect.signature(model.forward).parameters,
        )
        return cls(name, version(path, getattr(model.config, "_commit_hash", None), labels), network, roles, limits)

    @property
    def waiting(self) -> int:
        """Windows that wait for a worker."""
        return self._batching.waiting

    async def start(self) -> None:
        await self._batching.start()

    async def close(self) -> None:
        await self._batching.close()

    async def classify(self, samples: Sequence[Sample]) -> list[Scores]:
        """ClassifierError `queue_full` where too much waits, `unavailable` where it was not started."""
        scores = iter(await self._batching.classify([s for s in samples if s.role in self._roles]))
        return [next(scores) if s.role in self._roles else {} for s in samples]


class Loaded(NamedTuple):
    torch: Any
    tokenizer: Any
    model: Any


def read(path: str, device: str, **options: Any) -> Loaded:
    try:
        torch, hub = import_module("torch"), import_module("transformers")
    except ImportError:
        raise ModelError("torch and transformers are missing: pip install 'wardgate[hf]'") from None
    # Half precision is for accelerators: few CPUs are faster with it.
    kind = torch.float32 if device == "cpu" else "auto"
    try:
        tokenizer = hub.AutoTokenizer.from_pretrained(path, **options)
        model, report = hub.AutoModelForSequenceClassification.from_pretrained(
            path, dtype=kind, output_loading_info=True, **options
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be loaded as a sequence classifier: {error}") from error
    # transformers fills what a checkpoint lacks with chance and a mere warning: a bare encoder would pass for a judge.
    if report["missing_keys"]:
        raise ModelError(f"{path} has no trained weights for {', '.join(sorted(report['missing_keys']))}")
    return Loaded(torch, tokenizer, model.to(device).eval())


def windowed(tokenizer: Any, size: int) -> Tokenizer:
    """The tokenizer's compiled core, cutting into overlapping windows: transformers' own is not safe among threads."""
    if not tokenizer.is_fast:
        raise ModelError("the model has no tokenizer.json, and none could be made from what it has")
    core = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    core.no_padding()
    room = size - tokenizer.num_special_tokens_to_add(pair=False)
    core.enable_truncation(size, stride=min(OVERLAP, room // 4))
    return core


def width(model: Any, tokenizer: Any) -> int:
    """Tokens that the model takes at once, its marks included."""
    known = [n for n in (positions(model), tokenizer.model_max_length) if n is not None and 0 < n < 1_000_000]
    return min(known, default=USUAL)


def positions(model: Any) -> int | None:
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and hasattr(module, "padding_idx"):
            # RoBERTa and its kin count positions from behind the padding's.
            return int(module.num_embeddings) - (0 if module.padding_idx is None else int(module.padding_idx) + 1)
    found = getattr(model.config, "max_position_embeddings", None)
    return None if found is None else int(found)


def version(path: str | Path, commit: str | None, labels: Mapping[str, str]) -> str:
    """Of the hub's commit, or of a folder's files, and of the label map."""
    state = hashlib.sha256(repr((commit, sorted(labels.items()))).encode())
    for file in sorted(Path(path).glob("*")) if commit is None else ():
        if file.is_file():
            with file.open("rb") as stream:
                state.update(hashlib.file_digest(stream, "sha256").digest())
    return state.hexdigest()[:12]


def padded(lists: Sequence[Sequence[int]], fill: int) -> NDArray[np.int64]:
    array = np.full((len(lists), max(map(len, lists))), fill, dtype=np.int64)
    for row, values in zip(array, lists, strict=True):
        row[: len(values)] = values
    return array
