"""`/v1/completions` under attack: texts of several prompts, and the columns of their logprobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.wire.completions import CompletionsWire
from gateway.wire.logprobs import SPECIAL
from gateway.wire.surface import Wire
from tests.gateway.wire.attacks.chat import ChatAttack, Step, stripped, texts_of
from tests.gateway.wire.attacks.oracle import Carrier, Mode

OWN = frozenset({"index", "finish_reason", "stop_reason", "logprobs"})


@dataclass
class CompletionsAttack(ChatAttack):
    """Implements `Attack`."""

    wire: Wire = field(default_factory=CompletionsWire)

    def request(self) -> dict[str, Any]:
        return {"prompt": ["a"] * len(self.choices), "stream_options": {"include_usage": True}}

    def steps(self) -> list[Step]:
        c = self.chance
        said = [self.written("text", logged=c.often(0.6))]
        said += [self.written(name) for name in ("reasoning", "mood") if c.often(0.2)]
        said += [[{"citations": [{"title": c.text()}, c.text(1)]}]] if c.often(0.15) else []
        return c.mixed(*said)

    def written(self, name: str, *, logged: bool = False) -> list[Step]:
        c = self.chance
        pieces = c.cut(c.text())
        return [{name: p, **({"logprobs": self.columns(p)} if logged else {})} for p in pieces]

    def columns(self, piece: str) -> dict[str, Any]:
        tokens = self.chance.tokens(piece)
        others = [{self.chance.alternative()["token"]: -2.0} if self.chance.often(0.3) else {} for _ in tokens]
        tops = [{token: -0.5} | other for token, other in zip(tokens, others, strict=True)]
        return {"tokens": tokens, "token_logprobs": [-0.5] * len(tokens), "top_logprobs": tops, "text_offset": None}

    def framed(self, index: int, step: Step) -> Step:
        return {"index": index, "text": "", "finish_reason": None} | {k: v for k, v in step.items() if k != "delta"}

    def whole(self, index: int, steps: Sequence[Step]) -> dict[str, Any]:
        out: dict[str, Any] = {"index": index, "text": "", "finish_reason": "stop", "logprobs": None}
        for step in steps:
            for name, value in step.items():
                if name == "logprobs":
                    known = out[name] = out[name] or {column: [] for column in value}
                    out[name] = {k: None if v is None else v + value[k] for k, v in known.items() if k != "text_offset"}
                elif isinstance(value, str):
                    out[name] = out.get(name, "") + value
                else:
                    out[name] = [*out.get(name, []), *value]
        return out

    def read_choice(self, choice: Mapping[str, Any], said: dict[Carrier, list[str]], *, sent: bool) -> None:
        for name, value in choice.items():
            if name not in OWN and isinstance(value, str):
                said.setdefault(Carrier(choice["index"], name), []).append(value)
            elif name not in OWN:
                said.setdefault(Carrier(choice["index"], name, Mode.EACH), []).extend(texts_of(value))
        rows = choice.get("logprobs") or {}
        for token, others in zip(rows.get("tokens") or (), rows.get("top_logprobs") or (), strict=True):
            read_row(token, others, choice["index"], said, sent=sent)


def read_row(
    token: str, others: Mapping[str, float], index: int, said: dict[Carrier, list[str]], *, sent: bool
) -> None:
    """As `chat.read_entry`: a token is among its own alternatives, unless a guard minds it."""
    said.setdefault(Carrier(index, "alternatives", Mode.SEEN), []).extend(o for o in others if o != token)
    if sent:
        return
    if not SPECIAL.fullmatch(token):
        texts = ["".join(pieces) for carrier, pieces in said.items() if carrier.choice == index]
        assert stripped(token) in stripped("\0".join(texts)), "a token left that no text spells"
    said.setdefault(Carrier(index, "tokens", Mode.SEEN), []).append(token)
