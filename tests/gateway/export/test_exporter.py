from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.export.exporter import Exporter, Request
from gateway.export.filters import Filters
from gateway.export.folder import ExportError, Folder
from gateway.export.formats import formats
from gateway.export.redaction import Redactors
from gateway.review.decision import TIMEOUT
from guards.policy import Document
from tests.gateway.export.judged import AT, CONFIG, Judged, each, export, judged, left_out, made, rewritten, rows, words


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (judged("a", "cannot_judge"), "unresolved"),
        (judged("a", "escalate"), "unresolved"),
        (judged("a", view={"state": "open", "phase": "second"}), "unresolved"),
        (judged("a", view={"state": "open", "phase": "dispute"}), "unresolved"),
        (judged("a", view={"state": "deciding"}), "unresolved"),
        (judged("a", view={"outcome": None}), "unresolved"),
        (judged("a", said={"bulk": True}), "bulk"),
        (judged("a", said={"reviewer": TIMEOUT}), "timeout"),
        ((judged("a")[0], None), "text_gone"),
    ],
)
@pytest.mark.parametrize("format", sorted(formats()))
async def test_what_nobody_stands_by_is_never_exported(case: Judged, reason: str, format: str) -> None:
    files = await made([case], format)
    assert files["train.jsonl"] == files["validation.jsonl"] == []
    assert files["manifest.json"]["cases"] == {"read": 1, "exported": 0, "left_out": {reason: 1}}


async def test_a_dispute_that_a_senior_has_settled_is_exported() -> None:
    assert len(await rows([judged("a", view={"phase": "dispute"})], "sft")) == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"route": "/v1/completions", "request": {"prompt": "Once"}}, "no_conversation"),
        ({"route": "/v1/responses", "request": {"input": "x", "previous_response_id": "r"}}, "earlier_turns_unknown"),
        ({"texts": {"choices[0].message.content": "a", "choices[1].message.content": "b"}}, "several_answers"),
        ({"texts": {"choices[0].message.tool_calls[0].function.arguments": "{}"}}, "tool_calls"),
        ({"texts": {}}, "no_answer"),
        ({"request": {"messages": [{"role": "assistant", "content": "Well,"}]}}, "no_conversation"),
        ({"request": {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}}, "not_text"),
        ({"request": {"messages": "hostile"}}, "no_conversation"),
        ({"request": {"messages": [{"role": "root", "content": "x"}]}}, "no_conversation"),
    ],
)
async def test_what_makes_no_conversation_is_counted_and_left_out(fields: dict[str, Any], reason: str) -> None:
    assert await left_out([judged("a", **fields)]) == {reason: 1}


async def test_thoughts_are_no_part_of_an_answer() -> None:
    texts = {"choices[0].message.reasoning_content": "He must not know.", "choices[0].message.content": "Hello."}
    row = (await rows([judged("a", texts=texts)], "sft"))[0]
    assert row["messages"][-1] == {"role": "assistant", "content": "Hello."}


async def test_filters_choose_by_tenant_policy_category_and_time() -> None:
    cases = [
        judged("a"),
        judged("b", tenant="other"),
        judged("c", policy="bare@9"),
        judged("d", categories=("hate",)),
        judged("e", said={"at": AT - 9e6}),
    ]
    wanted = Filters(tenant="acme", policy="support", category="weapons", since=AT)
    assert (await made(cases, "sft", filters=wanted))["manifest.json"]["cases"]["exported"] == 1


async def test_personal_data_and_what_the_policy_redacts_never_leave() -> None:
    hidden = ("jo@example.com", "Project Falcon", "4111 1111 1111 1111")
    asked = f"I am {hidden[0]} of {hidden[1]}."
    cases = [
        rewritten("a", f"Better, {hidden[0]}", question=asked, answer=f"Hello {hidden[0]}, {hidden[1]}."),
        judged("b", "block", question=words(asked), policy="bare@1", answer=f"Pay with {hidden[2]} to {hidden[0]}."),
        judged("c", policy="gone@1", question=hidden[2], answer=words(hidden[0])),
    ]
    for name in formats():
        files = await made(cases, name, filters=Filters())
        told = orjson.dumps(files).decode()
        assert not [text for text in (hidden[0], hidden[2]) if text in told], name
        assert "Hello [EMAIL], [CODENAME]" in told or name in ("sft", "sft-pc", "kto", "grpo", "axolotl-sft")
    assert files["manifest.json"]["redaction"]["support"]["redactions"] > 0


async def test_an_audit_sample_is_held_out_with_its_conversation_and_all_that_is_like_it() -> None:
    turns = [{"role": "user", "content": "Tell me of sheds."}, {"role": "assistant", "content": "Red."}]
    longer = {"messages": [*turns, {"role": "user", "content": words("more")}]}
    audit = judged("a", question="Tell me of sheds!", source="audit", probability=0.5)
    like = judged("c", question="tell me, of sheds", answer="Other.")
    cases = [judged("b", request=longer), like, judged("d"), audit]
    for name in ("sft", "kto", "guard"):
        files = await made(cases, name)
        assert len([*files["train.jsonl"], *files["validation.jsonl"]]) == 1, name
    assert [row["weight"] for row in files["holdout.jsonl"]] == [2.0]


@pytest.mark.parametrize("fields", [{"said": {"bulk": True}}, {"said": {"at": AT - 9e6}}, {"view": {"state": "open"}}])
async def test_an_audit_sample_holds_its_conversation_out_whatever_was_decided_of_it(fields: dict[str, Any]) -> None:
    cases = [judged("a", question="Hello there", source="audit", **fields), judged("b", question="Hello there")]
    files = await made(cases, "guard", filters=Filters(since=AT))
    assert files["train.jsonl"] == files["validation.jsonl"] == files["holdout.jsonl"] == []


async def test_near_duplicates_count_once_and_the_latest_decision_stands() -> None:
    text = words("much the same")
    cases = [
        judged("a", "allow", question=text, answer=text, said={"at": AT}),
        judged("b", "block", question=f"{text} ", answer=f"{text}!", said={"at": AT + 9}),
        judged("c", "block", question=text, answer=text, said={"at": AT + 3}),
    ]
    assert [row["label"] for row in await rows(cases, "kto")] == [False]
    assert await left_out(cases, "kto") == {"contradicted": 1, "duplicate": 1}


async def test_no_user_fills_a_set() -> None:
    cases = [*(judged(f"a{i}", user="u1") for i in range(5)), *(judged(f"b{i}") for i in range(4))]
    assert len(await rows(cases, "sft", cap=2)) == 6
    assert await left_out(cases, cap=2) == {"cap_per_user": 3}


async def test_the_manifest_tells_what_is_in_the_files(tmp_path: Path) -> None:
    folder = Folder.beside(tmp_path / "set")
    wanted = Request(formats()["kto"], licence="CC-BY-4.0", validation=0.0)
    cases = [judged(f"a{i}") for i in range(4)] + [judged(f"b{i}", "block") for i in range(8)]
    await Exporter(wanted, Redactors.of(Document.model_validate(CONFIG))).write(each(cases), folder, AT)
    folder.publish()
    manifest = orjson.loads((folder.target / "manifest.json").read_bytes())
    data = (folder.target / "train.jsonl").read_bytes()
    told = {"rows": 12, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert manifest["files"]["train.jsonl"] == told
    assert (manifest["licence"], manifest["policies"]) == ("CC-BY-4.0", {"support@1a2b": 12})
    assert manifest["guards"] == {"badge": ["0a1b2c3d"]}
    assert 1 <= manifest["kto"]["desirable_weight"] * 4 / (manifest["kto"]["undesirable_weight"] * 8) <= 1.33


async def test_the_same_cases_make_the_same_files() -> None:
    cases = [judged(f"a{i}", at=AT + i % 3) for i in range(20)]
    assert await made(cases, "sft") == await made(reversed(cases), "sft")


def test_only_the_owner_reads_a_set_and_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = Folder.beside(tmp_path / "set")
    folder.write("train.jsonl", [{"a": 1}])
    assert not folder.target.exists()
    folder.publish()
    modes = [path.stat().st_mode & 0o777 for path in (folder.target, folder.target / "train.jsonl")]
    assert modes == [0o700, 0o600]
    with pytest.raises(ExportError):
        Folder.beside(tmp_path / "set")


def test_a_set_that_fails_leaves_nothing(tmp_path: Path) -> None:
    folder = Folder.beside(tmp_path / "set")
    folder.write("train.jsonl", [{"a": 1}])
    folder.discard()
    assert list(tmp_path.iterdir()) == []


OPENINGS = st.sampled_from([words(f"opening {i}") for i in range(12)])
TALKS = st.lists(st.tuples(OPENINGS, st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=25, unique=True)


def talk(number: int, opening: str, length: int, tail: int) -> Judged:
    """So many exchanges further on in a conversation that began so."""
    turns = [{"role": "user", "content": opening}]
    for i in range(length):
        turns += [{"role": "assistant", "content": f"reply {i}"}, {"role": "user", "content": words(f"{tail} {i}")}]
    return judged(f"c{number}", request={"messages": turns}, answer=words(f"{opening} {length} {tail}"))


def openings(rows: list[dict[str, Any]]) -> set[str]:
    return {row["messages"][0]["content"] for row in rows}


@settings(max_examples=40, deadline=None)
@given(TALKS, st.floats(0.1, 0.9))
def test_no_conversation_is_on_both_sides_and_none_changes_sides(
    talks: list[tuple[str, int, int]], share: float
) -> None:
    cases = [talk(i, *each) for i, each in enumerate(talks)]
    files = export(cases, "sft", validation=share)
    train, validation = openings(files["train.jsonl"]), openings(files["validation.jsonl"])
    assert not train & validation
    part = export(cases[: len(cases) // 2], "sft", validation=share)
    assert openings(part["train.jsonl"]) <= train
    assert openings(part["validation.jsonl"]) <= validation


def test_a_disk_that_fails_is_told_of(tmp_path: Path) -> None:
    folder = Folder.beside(tmp_path / "set")
    folder.work.rmdir()
    with pytest.raises(ExportError, match="could not be written"):
        folder.write("train.jsonl", [{"a": 1}])
