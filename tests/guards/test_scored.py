from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from classifiers.classifier import ClassifierError, Sample, Scores
from guards.catalog import build_lanes
from guards.policy import Policy, Rule
from guards.scored import Scored, ScoredLane, Text
from guards.text.fold import Folder
from guards.verdict import Action, Mode, Stage


@dataclass
class Words:
    """A classifier that knows a few words, takes its time, and may be broken."""

    known: Mapping[str, tuple[str, float]]
    """Word -> category and probability."""
    delay: float = 0.0
    broken: str = ""
    name: str = "words"
    version: str = "1"
    thresholds: Mapping[str, float] = field(default_factory=lambda: {"harm": 0.6})
    asked: list[Sample] = field(default_factory=list)
    calls: int = 0

    @property
    def categories(self) -> frozenset[str]:
        return frozenset(category for category, _ in self.known.values())

    async def classify(self, samples: Sequence[Sample]) -> list[Scores]:
        self.calls += 1
        self.asked += samples
        await asyncio.sleep(self.delay)
        if self.broken:
            raise ClassifierError("broken", self.broken)
        return [self._scores(s) for s in samples]

    def _scores(self, sample: Sample) -> Scores:
        out = dict.fromkeys(self.categories, 0.01)
        for word, (category, chance) in self.known.items():
            if word in sample.text:
                out[category] = max(out[category], chance)
        return out


WORDS = {"poison": ("harm", 0.9), "knife": ("harm", 0.5), "obey": ("injection", 0.8)}


def rule(
    name: str,
    category: str = "harm",
    *,
    thresholds: dict[str, float] | None = None,
    mode: Mode = "enforce",
    **more: object,
) -> Rule:
    values = {"name": name, "kind": "classifier", "category": category, "thresholds": thresholds, "mode": mode, **more}
    return Rule.model_validate(values)


def lane(classifier: Words, *rules: Rule, stage: Stage = "input") -> ScoredLane:
    return build_lanes(Policy(name="p", guards=rules), stage, Folder.new(), {"classifier": classifier}).scored


def text(said: str, where: str = "messages[0].content") -> Text:
    return Text(said, where, "prompt")


async def test_every_text_gets_a_verdict_of_every_rule_from_one_pass() -> None:
    words = Words(WORDS)
    rules = rule("harm", thresholds={"flag": 0.4, "block": 0.8}), rule("inj", "injection", thresholds={"flag": 0.5})
    found = await lane(words, *rules).check([text("a knife", "a"), text("poison, obey", "b"), text("tea", "c")])
    assert words.calls == 1
    assert [(v.field, v.guard, v.action, v.score, v.threshold) for v in found] == [
        ("a", "harm", Action.FLAG, 0.5, 0.4),
        ("a", "inj", Action.ALLOW, 0.01, 0.5),
        ("b", "harm", Action.BLOCK, 0.9, 0.8),
        ("b", "inj", Action.FLAG, 0.8, 0.5),
        ("c", "harm", Action.ALLOW, 0.01, 0.4),
        ("c", "inj", Action.ALLOW, 0.01, 0.5),
    ]


async def test_without_thresholds_the_classifiers_own_one_acts() -> None:
    found = await lane(Words(WORDS), rule("harm", action="flag")).check([text("a knife"), text("poison")])
    assert [(v.action, v.threshold) for v in found] == [(Action.ALLOW, 0.6), (Action.FLAG, 0.6)]


async def test_a_monitored_guard_says_what_it_would_do_and_does_nothing() -> None:
    (found,) = await lane(Words(WORDS), rule("harm", thresholds={"block": 0.8}, mode="monitor")).check([text("poison")])
    assert (found.action, found.would, found.score) == (Action.ALLOW, Action.BLOCK, 0.9)


async def test_hidden_readings_count_as_much_as_the_text() -> None:
    hidden = base64.b64encode(b"please tell me about poison in the well").decode()
    (found,) = await lane(Words(WORDS), rule("harm", thresholds={"block": 0.8})).check([text(f"decode {hidden}")])
    assert found.action is Action.BLOCK


async def test_a_failure_is_a_verdict_with_the_rules_on_error() -> None:
    rules = rule("strict", thresholds={"block": 0.9}), rule("lax", thresholds={"flag": 0.9}, on_error="allow")
    found = await lane(Words(WORDS, broken="queue_full"), *rules).check([text("tea")])
    assert [(v.guard, v.action, v.error) for v in found] == [
        ("strict", Action.BLOCK, "queue_full"),
        ("lax", Action.ALLOW, "queue_full"),
    ]


async def test_a_late_classifier_is_a_failure_unless_the_work_is_patient() -> None:
    slow = lane(Words(WORDS, delay=0.2), rule("harm", thresholds={"block": 0.9}, timeout="50ms"))
    (late,) = await slow.check([text("tea")])
    assert (late.action, late.error) == (Action.BLOCK, "timeout")
    (found,) = await slow.check([text("tea")], patient=True)
    assert (found.action, found.error) == (Action.ALLOW, None)


async def test_a_long_text_has_more_time() -> None:
    slow = lane(Words(WORDS, delay=0.2), rule("harm", thresholds={"block": 0.9}, timeout="50ms"))
    (found,) = await slow.check([text("tea " * 25_000)])
    assert found.error is None


async def test_a_rule_on_the_grey_band_runs_there_alone() -> None:
    small, big = Words(WORDS), Words({"knife": ("harm", 0.99)}, name="big")
    folder = Folder.new()
    first = lane(small, rule("small", thresholds={"block": 0.95})).rules[0]
    second = lane(big, rule("big", thresholds={"block": 0.95})).rules[0]
    cascade = Scored(second.duty, second.thresholds, second.classifier, ("small", 0.3, 0.8))
    found = await ScoredLane((cascade, first), "input", folder).check([text("tea", "a"), text("knife", "b")])
    assert [s.text for s in big.asked] == ["knife"]
    assert [(v.guard, v.field, v.action) for v in found] == [
        ("small", "a", Action.ALLOW),
        ("small", "b", Action.ALLOW),
        ("big", "b", Action.BLOCK),
    ]


async def test_a_failed_first_guard_does_not_send_the_second_one_home_as_safe() -> None:
    small, big = Words(WORDS, broken="unavailable"), Words(WORDS, name="big")
    first = lane(small, rule("small", thresholds={"block": 0.95})).rules[0]
    second = lane(big, rule("big", thresholds={"block": 0.95})).rules[0]
    cascade = Scored(second.duty, second.thresholds, second.classifier, ("small", 0.0, 0.8))
    found = await ScoredLane((first, cascade), "input", Folder.new()).check([text("knife")])
    assert [(v.guard, v.action, v.error) for v in found] == [("small", Action.BLOCK, "unavailable")]


async def test_the_time_of_a_huge_text_is_bounded() -> None:
    slow = lane(Words(WORDS, delay=1.0), rule("harm", thresholds={"block": 0.9}, timeout="20ms"))
    (late,) = await slow.check([text("tea " * 500_000)])
    assert late.error == "timeout"
