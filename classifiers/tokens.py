"""Samples to token ids: the layout that the shipped model was trained on, and windows over texts that are longer.

A prompt is `[CLS] <prompt mark> text [SEP]`; a response `[CLS] <response mark> beginning of its prompt [SEP] text
[SEP]` with the text in the second segment. The marks are two of BERT's unused tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tokenizers import Tokenizer

from classifiers.classifier import Sample

PROMPT_MARK = "[unused1]"
RESPONSE_MARK = "[unused2]"
WINDOW = 256
"""Tokens of the judged text in one window."""
STRIDE = 192
"""Tokens from one window's beginning to the next one's: neighbours share 64, more than the core of an attack needs."""
CONTEXT = 40
"""Tokens of the prompt that a response is read with."""


class Window(NamedTuple):
    """Token ids and what they are, all of one length."""

    ids: list[int]
    segments: list[int]
    """0: marks and context, 1: the text of a response."""
    judged: list[int]
    """1 for the tokens of the judged text."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Cuts samples into windows."""

    tokenizer: Tokenizer
    cls: int
    sep: int
    prompt_mark: int
    response_mark: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Layout:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        names = ("[CLS]", "[SEP]", PROMPT_MARK, RESPONSE_MARK)
        known = {name: tokenizer.token_to_id(name) for name in names}
        ids = [id for id in known.values() if id is not None]
        if len(ids) < len(names):
            raise ValueError(f"the tokenizer lacks some of {', '.join(names)}")
        return cls(tokenizer, *ids)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Word pieces, without marks, of texts of any length. Lone surrogates, which none has, are read as `?`."""
        clean = [t if t.isascii() else t.encode("utf-8", "replace").decode() for t in texts]
        if len(clean) == 1:  # here and now: a batch goes to threads of the library's own
            return [self.tokenizer.encode(clean[0], add_special_tokens=False).ids]
        return [e.ids for e in self.tokenizer.encode_batch_fast(clean, add_special_tokens=False)]

    def windows(self, sample: Sample, text: Sequence[int], context: Sequence[int]) -> Iterator[Window]:
        """Overlapping windows that cover every token of the text."""
        last = max(0, len(text) - WINDOW)
        starts = [*range(0, last, STRIDE), last]
        for start in starts:
            yield self.window(sample, text[start : start + WINDOW], context)

    def window(self, sample: Sample, text: Sequence[int], context: Sequence[int]) -> Window:
        if sample.role == "prompt":
            ids = [self.cls, self.prompt_mark, *text, self.sep]
            return Window(ids, [0] * len(ids), [0, 0, *[1] * len(text), 0])
        head = [self.cls, self.response_mark, *context[:CONTEXT], self.sep]
        ids = [*head, *text, self.sep]
        judged = [*[0] * len(head), *[1] * len(text), 0]
        return Window(ids, [*[0] * len(head), *[1] * (len(text) + 1)], judged)
