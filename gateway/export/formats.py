"""The rows of training sets: TRL's dataset formats (https://huggingface.co/docs/trl/dataset_formats) and axolotl's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.export.sample import Sample
from gateway.export.turns import Message

Row = dict[str, Any]
HARM = "harm"
"""Any hazard: where nobody named one."""


@dataclass(frozen=True, slots=True)
class Format:
    """`rows`: none where the decision says nothing in this format."""

    name: str
    about: str
    rows: Callable[[Sample], list[Row]]
    conversational: bool = True
    """Its rows are turns, which cannot be made of every exchange."""
    holdout: bool = False
    """The audit sample is written too, into a file of its own."""


def said(text: str) -> Message:
    return {"role": "assistant", "content": text}


def tools(sample: Sample) -> Row:
    """As a JSON string: schemas differ from row to row, which a table's column cannot."""
    return {"tools": orjson.dumps(list(sample.tools)).decode()} if sample.tools else {}


def good(sample: Sample) -> str:
    """The answer that a person stands by; empty where there is none."""
    return sample.original if sample.decision.choice == "allow" else sample.rewritten


def sft(sample: Sample) -> list[Row]:
    text = good(sample)
    return [{"messages": [*sample.prompt, said(text)], **tools(sample)}] if text else []


def sft_pc(sample: Sample) -> list[Row]:
    text = good(sample)
    return [{"prompt": [*sample.prompt], "completion": [said(text)], **tools(sample)}] if text else []


def differs(sample: Sample) -> bool:
    """A person wrote something else, and not only where both are redacted."""
    return bool(sample.original and sample.rewritten and sample.original != sample.rewritten)


def dpo(sample: Sample) -> list[Row]:
    if not differs(sample):
        return []
    pair = {"chosen": [said(sample.rewritten)], "rejected": [said(sample.original)]}
    return [{"prompt": [*sample.prompt], **pair, **tools(sample)}]


def reward(sample: Sample) -> list[Row]:
    if not differs(sample):
        return []
    chosen, rejected = ([*sample.prompt, said(text)] for text in (sample.rewritten, sample.original))
    return [{"chosen": chosen, "rejected": rejected, "margin": 1.0, **tools(sample)}]


def kto(sample: Sample) -> list[Row]:
    if sample.decision.choice not in ("allow", "block") or not sample.original:
        return []
    label = sample.decision.choice == "allow"
    return [{"prompt": [*sample.prompt], "completion": [said(sample.original)], "label": label, **tools(sample)}]


def grpo(sample: Sample) -> list[Row]:
    return [{"prompt": [*sample.prompt], "policy": categories(sample)[0], **tools(sample)}]


def guard(sample: Sample) -> list[Row]:
    """One row for each category. Where a person corrected the guards, what he named is there, their other names not."""
    if not sample.text:
        return []
    named = set() if sample.decision.choice == "allow" else set(categories(sample))
    others = set(sample.case.categories) if named else set(sample.case.categories or (HARM,))
    weight = 1 / sample.case.probability if sample.case.probability else 1.0
    row = {"text": sample.text, "stage": sample.case.stage}
    return [{**row, "category": c, "label": int(c in named), "weight": weight} for c in sorted(named | others)]


def categories(sample: Sample) -> tuple[str, ...]:
    """A person's word before the guards'."""
    return sample.decision.categories or sample.case.categories or (HARM,)


def axolotl_dpo(sample: Sample) -> list[Row]:
    """`chat_template.default`: the answers are one message each, no lists."""
    if not differs(sample):
        return []
    pair = {"chosen": said(sample.rewritten), "rejected": said(sample.original)}
    return [{"messages": [*sample.prompt], **pair, **tools(sample)}]


def formats() -> Mapping[str, Format]:
    known = (
        Format("sft", "approved and rewritten answers, as conversations", sft),
        Format("sft-pc", "the same as prompt and completion", sft_pc),
        Format("dpo", "rewritten answers before the model's own", dpo),
        Format("kto", "approved and blocked answers", kto),
        Format("reward", "pairs of whole conversations, for reward models", reward),
        Format("grpo", "prompts, and what they were stopped for", grpo),
        Format("guard", "texts and labels, for guards; with the audit sample", guard, False, True),
        Format("axolotl-sft", "sft for axolotl's `chat_template`", sft),
        Format("axolotl-dpo", "dpo for axolotl's `chat_template.default`", axolotl_dpo),
    )
    return {each.name: each for each in known}
