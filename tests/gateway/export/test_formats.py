from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.export.formats import formats
from tests.gateway.export.judged import Judged, judged, made, rewritten, rows

GOLDEN = Path(__file__).parent / "golden"
ASK = "How do I pick the lock of my own shed?"
ANSWER = "Use a tension wrench and a rake."
BETTER = "Ask a locksmith, or use a tension wrench on your own shed only."
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}


def every() -> Sequence[Judged]:
    """One of each decision, and a conversation with a tool."""
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q":"shed"}'}}
    turns = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Find me a shed."}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "A red one, sold by jo@example.com."},
    ]
    return [
        judged("c1", "allow", question=ASK, answer=ANSWER),
        judged("c2", "block", question="And of my neighbour's?", answer="The same way, at night."),
        rewritten("c3", BETTER, question="Teach me locks.", answer="Sure, start with safes.", at=1_790_000_001.0),
        rewritten("c4", "I will not.", "refuse_rewrite", question="Break in for me.", answer="On my way to the house."),
        judged("c5", "allow", request={"messages": turns, "tools": [TOOL]}, answer="It is red.", system_prompt="Sell."),
        judged("c6", "block", question="A bomb?", answer="Mix it.", source="audit", probability=0.08, categories=()),
    ]


@pytest.mark.parametrize("format", sorted(formats()))
async def test_rows_are_what_they_were(format: str) -> None:
    """`WARDGATE_GOLDEN=1` writes the files anew."""
    files = await made(every(), format, validation=0.0)
    lines = b"".join(orjson.dumps(row) + b"\n" for row in [*files["train.jsonl"], *files.get("holdout.jsonl", [])])
    golden = GOLDEN / f"{format}.jsonl"
    if os.environ.get("WARDGATE_GOLDEN"):
        golden.write_bytes(lines)
    assert lines == golden.read_bytes()


def turn(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


async def test_what_is_approved_is_learnt_as_it_is() -> None:
    case = [judged("c1", "allow", question=ASK, answer=ANSWER)]
    assert await rows(case, "sft") == [{"messages": [turn(ASK), turn(ANSWER, "assistant")]}]
    assert await rows(case, "sft-pc") == [{"prompt": [turn(ASK)], "completion": [turn(ANSWER, "assistant")]}]
    assert (await rows(case, "kto"))[0]["label"] is True
    assert await rows(case, "dpo") == []


async def test_what_is_blocked_is_unlearnt_and_never_taught() -> None:
    case = [judged("c1", "block", question=ASK, answer=ANSWER)]
    assert (await rows(case, "kto"))[0]["label"] is False
    assert [await rows(case, name) for name in ("sft", "sft-pc", "dpo", "reward", "axolotl-dpo")] == [[]] * 5


@pytest.mark.parametrize("choice", ["allow_with_edit", "refuse_rewrite"])
async def test_a_rewritten_answer_is_preferred_to_the_models_own(choice: Any) -> None:
    case = [rewritten("c1", BETTER, choice, question=ASK, answer=ANSWER)]
    chosen, rejected = turn(BETTER, "assistant"), turn(ANSWER, "assistant")
    assert await rows(case, "dpo") == [{"prompt": [turn(ASK)], "chosen": [chosen], "rejected": [rejected]}]
    assert await rows(case, "axolotl-dpo") == [{"messages": [turn(ASK)], "chosen": chosen, "rejected": rejected}]
    assert await rows(case, "sft") == [{"messages": [turn(ASK), chosen]}]
    assert await rows(case, "kto") == []
    pair = {"chosen": [turn(ASK), chosen], "rejected": [turn(ASK), rejected], "margin": 1.0}
    assert await rows(case, "reward") == [pair]


async def test_an_edit_of_one_part_keeps_the_others() -> None:
    texts = {"content[0].text": "One. ", "content[1].text": "Two."}
    said = {"edits": {"content[1].text": "Three."}}
    request = {"messages": [turn(ASK)]}
    case = judged("c1", "allow_with_edit", texts=texts, request=request, said=said, route="/v1/messages")
    row = (await rows([case], "dpo"))[0]
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("One. Three.", "One. Two.")


async def test_a_pair_that_only_differs_in_what_is_redacted_is_none() -> None:
    case = rewritten("c1", "Ask b@example.com.", question=ASK, answer="Ask a@example.com.")
    assert await rows([case], "dpo") == []


async def test_a_guard_learns_what_a_person_named_and_not_what_the_guards_did() -> None:
    said = {"categories": ("violent_crimes",)}
    case = judged("c1", "block", answer=ANSWER, said=said, categories=("weapons",))
    labels = {row["category"]: row["label"] for row in await rows([case], "guard")}
    assert labels == {"violent_crimes": 1, "weapons": 0}


async def test_a_guard_learns_of_a_judged_prompt_the_prompt() -> None:
    case = judged("c1", "block", question=ASK, texts={}, stage="input")
    row = {"text": ASK, "stage": "input", "category": "weapons", "label": 1, "weight": 1.0}
    assert await rows([case], "guard") == [row]


async def test_a_sampled_exchange_weighs_as_many_as_it_stands_for() -> None:
    case = judged("c1", "allow", source="drift", probability=0.08)
    assert [row["weight"] for row in await rows([case], "guard")] == [12.5]


async def test_tools_are_json_in_a_column_of_their_own() -> None:
    row = next(r for r in await rows(every(), "sft") if "tools" in r)
    assert orjson.loads(row["tools"]) == [TOOL]
    assert row["messages"][0] == turn("Sell.\n\nBe brief.", "system")
