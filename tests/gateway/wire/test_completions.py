"""Completions through their filter: however a stream is cut and mixed, it says what the whole answer would say."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import UpstreamBroken
from gateway.wire.completions import CompletionsWire
from gateway.wire.judge import Judge
from gateway.wire.surface import AnswerFilter, Ask
from guards.lane import Lane
from tests.fakes import frame, text_choice, text_frame, text_head, text_json, text_logprobs
from tests.guards.lanes import FINDS, FOLDER, WORDS, cut, document, every_kind, feed_all, whole

REDACTING = every_kind(block=False)
BLOCKING = every_kind(block=True)
IDLE = Lane((), None, ())
REFUSAL = "Not this."

pieces = st.one_of(
    st.sampled_from(FINDS),
    st.sampled_from(WORDS),
    st.sampled_from(["ada@example.com", "SKLONGxxxEND", "Project Titan", " ", "\n", "-", ".", "@"]),
    st.text(st.characters(codec="utf-8"), max_size=8),
)


def answering(lane: Lane, choices: int, **request: Any) -> AnswerFilter:
    ask = Ask({"prompt": "Go on", "n": choices, **request}, "1", "m", lambda: REFUSAL, lambda: {"findings": []}, False)
    return CompletionsWire().answer(ask, Judge(lane, IDLE, FOLDER, "output"), guarded=True)


@st.composite
def cut_texts(draw: st.DrawFn) -> list[str]:
    text = "".join(draw(st.lists(pieces, max_size=10)))
    edges = sorted(draw(st.sets(st.integers(0, len(text)), max_size=16)))
    return [text[a:b] for a, b in zip([0, *edges], [*edges, len(text)], strict=True)]


def mixed(choices: Sequence[Sequence[str]], chance: random.Random) -> list[tuple[int, str, bool]]:
    """(choice, piece, last) in an order that only keeps each choice's own."""
    turns = [i for i, parts in enumerate(choices) for _ in parts]
    chance.shuffle(turns)
    at = [0] * len(choices)
    out = []
    for i in turns:
        at[i] += 1
        out.append((i, choices[i][at[i] - 1], at[i] == len(choices[i])))
    return out


def stream(filter_: AnswerFilter, frames: Sequence[bytes]) -> list[Any]:
    """The choices of all chunks that leave."""
    out: list[bytes] = []
    for data in frames:
        blocked = filter_.frame(data.removeprefix(b"data: ").strip(), out)
        if blocked:
            filter_.refuse(blocked, out)
        if filter_.done:
            break
    blocked = filter_.flush(out)
    if blocked:
        filter_.refuse(blocked, out)
    chunks = [json.loads(f.removeprefix(b"data: ")) for f in b"".join(out).split(b"\n\n") if f]
    return [choice for chunk in chunks for choice in chunk["choices"]]


def said(choices: Sequence[Any], index: int) -> str:
    return "".join(c["text"] for c in choices if c["index"] == index)


def row(choices: Sequence[Any], name: str, index: int = 0) -> list[Any]:
    return [v for c in choices if c["index"] == index and c["logprobs"] for v in c["logprobs"][name]]


@given(choices=st.lists(cut_texts(), min_size=1, max_size=3), chance=st.randoms(use_true_random=False))
@settings(max_examples=600, deadline=None)
def test_every_way_to_cut_and_mix_the_choices_says_what_the_whole_says(
    choices: list[list[str]], chance: random.Random
) -> None:
    frames = [text_frame(piece, i, "stop" if last else None) for i, piece, last in mixed(choices, chance)]
    got = stream(answering(REDACTING, len(choices)), frames)
    body = json.loads(text_json(*("".join(parts) for parts in choices)))
    answering(REDACTING, len(choices)).whole(body)
    assert [said(got, i) for i in range(len(choices))] == [c["text"] for c in body["choices"]]


@pytest.mark.parametrize("block", range(8))
def test_random_documents_in_random_order_leak_nothing(block: int) -> None:
    chance = random.Random(block)
    for _ in range(1250):
        lane = BLOCKING if chance.random() < 0.3 else REDACTING
        choices = [cut(document(chance), chance) or [""] for _ in range(chance.randint(1, 3))]
        frames = [text_frame(piece, i, "stop" if last else None) for i, piece, last in mixed(choices, chance)]
        got = stream(answering(lane, len(choices)), frames)
        for i, parts in enumerate(choices):
            expected = whole(lane, "".join(parts))
            assert said(got, i) == expected.text + REFUSAL * expected.blocked
            ends = [c["finish_reason"] for c in got if c["index"] == i and c["finish_reason"]]
            assert ends == ["content_filter" if expected.blocked else "stop"]


@given(parts=cut_texts(), lost=st.booleans())
@settings(max_examples=600, deadline=None)
def test_logprobs_show_no_more_than_the_text(parts: list[str], lost: bool) -> None:
    """Also where the tokenizer loses the blanks of the text."""
    tokens = ["".join(p.split()) if lost else p for p in parts]
    frames, at = [], 0
    for i, (part, token) in enumerate(zip(parts, tokens, strict=True)):
        last = i == len(parts) - 1
        frames.append(text_frame(part, 0, "stop" if last else None, logprobs=text_logprobs([token], at)))
        at += len(token)
    got = stream(answering(REDACTING, 1), frames)
    shown = row(got, "tokens")
    assert is_subsequence(shown, tokens)
    releases = feed_all(REDACTING, parts)
    hidden = [d.match for r in releases for d in r.decisions if REDACTING.rules[d.rule].rank > 1]
    kept, at = [], 0
    for part, token in zip(parts, tokens, strict=True):
        if not any(m.start < at + len(part) and at < m.end for m in hidden):
            kept.append(token)
        at += len(part)
    assert is_subsequence([t for t in shown if t], [t for t in kept if t])


def is_subsequence(some: Sequence[str], all_: Sequence[str]) -> bool:
    rest = iter(all_)
    return all(each in rest for each in some)


def test_logprobs_of_redacted_text_are_dropped_and_offsets_point_into_what_is_left() -> None:
    tokens = ["Write", " to", " ada", "@", "example", ".com", " now"]
    frames, at = [], 0
    for token in tokens:
        frames.append(text_frame(token, logprobs=text_logprobs([token], at)))
        at += len(token)
    got = stream(answering(REDACTING, 1), [*frames, text_frame("", 0, "stop")])
    text = said(got, 0)
    assert text == "Write to [EMAIL] now"
    assert row(got, "tokens") == ["Write", " to", " now"]
    assert [text[o:] for o in row(got, "text_offset")] == ["Write to [EMAIL] now", " to [EMAIL] now", " now"]
    assert [set(a) for a in row(got, "top_logprobs")] == [{"Write", "Writes"}, {" to", " tos"}, {" now", " nows"}]


def test_tokens_without_their_blanks_do_not_leave_before_the_text_that_they_spell() -> None:
    """What they say together is no codename, so that a guard that reads them alone would let them go."""
    parts = ["It is ", "Project", " Titan", " today."]
    frames = [text_frame(p, logprobs=text_logprobs([p.strip()])) for p in parts]
    got = stream(answering(REDACTING, 1), [*frames, text_frame("", 0, "stop")])
    assert said(got, 0) == "It is [CODENAME] today."
    assert row(got, "tokens") == ["It is", "today."]


def test_tokens_that_spell_another_text_are_withheld() -> None:
    parts = [("It", "It"), (" is", " is"), (" ☺", "bytes:\\xe2"), (" so", "SO"), (" fine", " fine")]
    frames = [text_frame(text, logprobs=text_logprobs([token])) for text, token in parts]
    got = stream(answering(REDACTING, 1), [*frames, text_frame("", 0, "stop")])
    assert said(got, 0) == "It is ☺ so fine"
    assert row(got, "tokens") == ["It", " is", " fine"]


def test_tokens_after_the_text_has_ended_are_kept() -> None:
    frames = [
        text_frame("Hi", logprobs=text_logprobs(["Hi"])),
        text_frame("", 0, "stop", logprobs=text_logprobs(["</s>"], 2)),
    ]
    got = stream(answering(REDACTING, 1), frames)
    assert row(got, "tokens") == ["Hi", "</s>"]


def test_an_alternative_that_a_guard_would_act_on_is_left_out() -> None:
    logprobs = text_logprobs(["Hi"])
    logprobs["top_logprobs"][0]["SKLONGxxEND"] = -3.0
    got = stream(answering(REDACTING, 1), [text_frame("Hi", 0, "stop", logprobs=logprobs)])
    assert set(row(got, "top_logprobs")[0]) == {"Hi", "His"}


def test_frames_with_nothing_to_hide_leave_as_they_came() -> None:
    tokens = ["In short, ", "it is ", "simple. "]
    frames = [text_frame(t, logprobs=text_logprobs([t], 10 * i)) for i, t in enumerate(tokens)]
    out: list[bytes] = []
    filter_ = answering(BLOCKING, 1)
    for data in frames:
        assert not filter_.frame(data.removeprefix(b"data: ").strip(), out)
    assert [json.loads(f[6:]) for f in out] == [json.loads(f[6:]) for f in frames]


def test_columns_that_the_upstream_left_out_stay_out() -> None:
    logprobs = {"tokens": ["Hi"], "token_logprobs": [-0.1], "top_logprobs": None, "text_offset": [0]}
    got = stream(answering(REDACTING, 1), [text_frame("Hi", 0, "stop", logprobs=logprobs)])
    assert got[0]["logprobs"] == logprobs


def test_logprobs_as_chats_have_them_are_filtered_as_those() -> None:
    entries: list[dict[str, Any]] = [
        {"token": t, "logprob": -0.1, "bytes": None, "top_logprobs": []} for t in ("Hi", " ada@example.com", " .")
    ]
    choice = text_frame("Hi ada@example.com .", 0, "stop", logprobs={"content": entries})
    assert [e["token"] for e in row(stream(answering(REDACTING, 1), [choice]), "content")] == ["Hi", " ."]


@pytest.mark.parametrize(
    "choice",
    [
        {"text": 7},
        {"text": ["Project Titan"]},
        {"message": {"content": "Project Titan"}},
        {"delta": {"content": "Project Titan"}},
        {"logprobs": ["Project Titan"]},
        {"logprobs": {"tokens": "Project Titan"}},
        {"logprobs": {"tokens": ["Project", "Titan"], "token_logprobs": [-1.0]}},
        {"logprobs": {"tokens": ["a"], "token_logprobs": ["Project Titan"]}},
        {"logprobs": {"tokens": ["a"], "text_offset": ["Project Titan"]}},
        {"logprobs": {"tokens": ["a"], "top_logprobs": [{"a": "Project Titan"}]}},
        {"logprobs": {"tokens": [None]}},
        {"logprobs": {"words": ["Project Titan"]}},
    ],
)
def test_a_choice_of_unknown_shape_is_refused(choice: dict[str, Any]) -> None:
    with pytest.raises(UpstreamBroken):
        stream(answering(REDACTING, 1), [frame(text_head() | {"choices": [text_choice("Hi", 0, None) | choice]})])


def test_another_text_of_a_choice_is_judged_as_well() -> None:
    frames = [text_frame("", reasoning="ask ada@exam"), text_frame("Hi", 0, "stop", reasoning="ple.com .")]
    got = stream(answering(REDACTING, 1), frames)
    assert "".join(c.get("reasoning") or "" for c in got) == "ask [EMAIL] ."


def test_a_text_deeper_in_a_choice_is_judged_as_well() -> None:
    frames = [text_frame("Hi", 0, "stop", citations=[{"title": "ask ada@example.com ."}])]
    got = stream(answering(REDACTING, 1), frames)
    assert got[0]["citations"] == [{"title": "ask [EMAIL] ."}]


@pytest.mark.parametrize(
    ("request_", "choices"),
    [
        ({"prompt": "a"}, 1),
        ({"prompt": "a", "n": 3, "best_of": 5}, 3),
        ({"prompt": ["a", "b"], "n": 2}, 4),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]], "n": 2}, 4),
        ({"prompt_embeds": ["QQ==", "QQ=="]}, 2),
    ],
)
def test_a_stream_has_ended_once_each_choice_of_each_prompt_has(request_: dict[str, Any], choices: int) -> None:
    request: dict[str, Any] = {"n": None, "prompt": None} | request_
    filter_ = answering(REDACTING, 0, **request)
    for i in range(choices):
        assert not filter_.over
        filter_.frame(text_frame("a", i, "stop").removeprefix(b"data: ").strip(), [])
    assert filter_.over
