"""The verdict cache as the guards use it. `Kept` is a cache in memory, and counts what it is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.classifier import Role, Sample
from guards.cache import Memo, fingerprint
from guards.catalog import build_lanes, source
from guards.policy import Policy, Rule
from guards.scored import ScoredLane, Text
from guards.text.fold import Folder
from guards.verdict import Action, Stage
from tests.guards.test_scored import WORDS, Words, rule, text


@dataclass
class Kept:
    known: dict[bytes, bytes] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    """How many keys each question had."""

    def get_many(self, keys: Sequence[bytes]) -> Awaitable[Sequence[bytes | None]]:
        self.asked.append(len(keys))
        return self._answer(keys)

    async def _answer(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        return [self.known.get(key) for key in keys]

    def put_many(self, found: Mapping[bytes, bytes]) -> None:
        self.known.update(found)


def lane(
    cache: Kept,
    classifier: Words,
    *rules: Rule,
    stage: Stage = "input",
    name: str = "p",
    others: Mapping[str, Words] = MappingProxyType({}),
) -> ScoredLane:
    classifiers = {"classifier": classifier, **others}
    return build_lanes(Policy(name=name, guards=rules), stage, Folder.new(), classifiers, cache).scored


async def test_a_chat_that_is_sent_again_costs_its_new_message() -> None:
    words, cache = Words(WORDS), Kept()
    guards = lane(cache, words, rule("harm", thresholds={"block": 0.8}))
    turns = [text(f"turn {i}", f"messages[{i}].content") for i in range(40)]
    for i in range(40):
        found = await guards.check(turns[: i + 1])
        assert [v.field for v in found] == [t.field for t in turns[: i + 1]]
    assert [s.text for s in words.asked] == [t.text for t in turns]
    assert cache.asked == list(range(1, 41))


async def test_remembered_scores_say_what_fresh_ones_say() -> None:
    words, cache = Words(WORDS), Kept()
    rules = rule("harm", thresholds={"flag": 0.4, "block": 0.8}), rule("inj", "injection", thresholds={"flag": 0.5})
    guards = lane(cache, words, *rules)
    texts = [text("a knife", "a"), text("poison, obey", "b"), text("tea", "c")]
    fresh = await guards.check(texts)
    again = await guards.check(texts)
    assert words.calls == 1
    assert [(v.guard, v.field, v.score, v.action, v.threshold, v.version) for v in again] == [
        (v.guard, v.field, v.score, v.action, v.threshold, v.version) for v in fresh
    ]


async def test_other_thresholds_and_categories_need_no_new_scores() -> None:
    words, cache = Words(WORDS), Kept()
    await lane(cache, words, rule("harm", thresholds={"block": 0.95})).check([text("poison, obey")])
    changed = rule("harm", thresholds={"block": 0.8}), rule("new", "injection", thresholds={"block": 0.5})
    found = await lane(cache, words, *changed).check([text("poison, obey")])
    assert words.calls == 1
    assert [(v.guard, v.action) for v in found] == [("harm", Action.BLOCK), ("new", Action.BLOCK)]


@pytest.mark.parametrize(
    "other",
    [
        Text("poison", "a", "response"),
        Text("poison", "a", "prompt", prompt="what kills rats?"),
        Text("poison ", "a", "prompt"),
    ],
    ids=["role", "context", "text"],
)
async def test_what_is_not_the_same_is_judged(other: Text) -> None:
    words, cache = Words(WORDS), Kept()
    guards = lane(cache, words, rule("harm", thresholds={"block": 0.8}))
    await guards.check([Text("poison", "a", "prompt")])
    await guards.check([other])
    assert words.calls == 2


async def test_another_version_of_the_classifier_judges_anew() -> None:
    cache, old, new = Kept(), Words(WORDS), Words(WORDS, version="2")
    for words in (old, new):
        await lane(cache, words, rule("harm", thresholds={"block": 0.8})).check([text("tea")])
    assert (old.calls, new.calls) == (1, 1)


async def test_policies_do_not_tell_each_other_what_they_have_seen() -> None:
    cache, words = Kept(), Words(WORDS)
    for name in ("support", "sales"):
        await lane(cache, words, rule("harm", thresholds={"block": 0.8}), name=name).check([text("tea")])
    assert words.calls == 2


@pytest.mark.parametrize("trouble", [{"broken": "queue_full"}, {"delay": 0.2}], ids=["error", "timeout"])
async def test_errors_are_not_remembered(trouble: Mapping[str, Any]) -> None:
    cache = Kept()
    judge = rule("harm", thresholds={"block": 0.8}, timeout="20ms")
    (failed,) = await lane(cache, Words(WORDS, **trouble), judge).check([text("poison")])
    assert failed.error
    assert cache.known == {}
    (found,) = await lane(cache, Words(WORDS), judge).check([text("poison")])
    assert (found.error, found.action) == (None, Action.BLOCK)


async def test_what_is_remembered_counts_though_the_classifier_fails_now() -> None:
    cache = Kept()
    judge = rule("harm", thresholds={"block": 0.8}, on_error="allow")
    await lane(cache, Words(WORDS), judge).check([text("poison", "a")])
    found = await lane(cache, Words(WORDS, broken="unavailable"), judge).check([text("poison", "a"), text("tea", "b")])
    assert [(v.field, v.action, v.error) for v in found] == [
        ("a", Action.BLOCK, None),
        ("b", Action.ALLOW, "unavailable"),
    ]


async def test_a_rule_that_says_so_has_each_text_judged_anew() -> None:
    cache, words = Kept(), Words(WORDS)
    rules = rule("harm", thresholds={"block": 0.8}), rule("fresh", thresholds={"block": 0.8}, cache=False)
    for _ in range(2):
        await lane(cache, words, *rules).check([text("tea")])
    assert words.calls == 2
    assert cache.known == {}


async def test_answers_are_not_looked_up() -> None:
    cache, words = Kept(), Words(WORDS)
    guards = lane(cache, words, rule("harm", thresholds={"block": 0.8}), stage="output")
    await guards.check([Text("tea", "choices[0].message.content", "response")])
    assert cache.asked == []
    assert cache.known == {}


async def test_a_cascade_asks_the_cache_once_and_remembers_both_guards() -> None:
    small, big, cache = Words(WORDS), Words({"knife": ("harm", 0.99)}, name="big"), Kept()
    band = {"guard": "small", "between": [0.3, 0.8]}
    served: dict[str, Any] = {"kind": "guard_llm", "family": "llama_guard", "base_url": "http://g/v1", "model": "g"}
    first = rule("small", thresholds={"block": 0.95})
    second = rule("big", thresholds={"block": 0.95}, only_if=band, **served)
    guards = lane(cache, small, second, first, others={source(second): big})
    texts = [text("tea", "a"), text("knife", "b")]
    fresh, again = await guards.check(texts), await guards.check(texts)
    assert cache.asked == [4, 4]
    assert (small.calls, big.calls) == (1, 1)
    assert [(v.guard, v.field, v.action) for v in again] == [(v.guard, v.field, v.action) for v in fresh]


@pytest.mark.parametrize("data", [b"", b"\0" * 7, b"\xff" * 8, b"\0\0\x80\x40" * 2], ids=["none", "7", "nan", "4.0"])
async def test_what_is_no_probability_is_not_believed(data: bytes) -> None:
    cache, words = Kept(), Words(WORDS)
    guards = lane(cache, words, rule("harm", thresholds={"block": 0.8}))
    await guards.check([text("poison")])
    cache.known = dict.fromkeys(cache.known, data)
    found = await guards.check([text("poison")])
    assert [v.action for v in found] == [Action.BLOCK]


scores = st.dictionaries(st.sampled_from(["harm", "jailbreak", "toxicity"]), st.floats(0, 1))


@given(scores.filter(bool))
def test_scores_come_back_to_six_digits(given: dict[str, float]) -> None:
    memo = Memo.of("p", "c", "1", {"harm", "jailbreak", "toxicity"})
    data = memo.pack(given)
    assert data is not None
    back = memo.unpack(data)
    assert back is not None
    assert back == pytest.approx(given, abs=1.1e-6)


@pytest.mark.parametrize("given", [{}, {"harm": float("nan")}, {"harm": 1.5}, {"other": 0.5}])
def test_scores_that_would_come_back_as_something_else_are_not_packed(given: dict[str, float]) -> None:
    assert Memo.of("p", "c", "1", {"harm"}).pack(given) is None


samples = st.builds(Sample, st.text(max_size=4), st.sampled_from(["prompt", "response"]), st.text(max_size=4))


@given(samples, samples)
def test_only_equal_samples_have_equal_fingerprints(one: Sample, other: Sample) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (one == other)


def test_no_text_can_be_read_from_a_key() -> None:
    role: Role = "prompt"
    key = Memo.of("p", "c", "1", {"harm"}).key(fingerprint(Sample("my secret", role)))
    assert len(key) == 32
    assert b"secret" not in key
