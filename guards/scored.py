"""Guards that score: what classifiers say of whole texts, against each rule's thresholds.

All rules of one classifier share its one pass over a text. Every reading of the text is scored, and the highest
probability counts. A classifier that fails or is late is a verdict with `error`: its rule's `on_error` holds.
Where the lane has a cache, only texts that are new to it are scored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice

from classifiers.classifier import Classifier, ClassifierError, Role, Sample, Scores
from guards.cache import Memo, Recall, VerdictCache
from guards.kinds.classifier import Thresholds
from guards.lane import Duty
from guards.text.decode import readings
from guards.text.fold import Folder
from guards.verdict import Action, Stage, Verdict

PAGES = 15
PAGE = 20_000
"""Characters for which a rule's `timeout` is meant; a longer text has more time."""
CONTEXT = 2000
"""Characters of a prompt that go with its answer."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text to judge, and where it stands."""

    text: str
    field: str
    role: Role
    prompt: str = ""
    choice: int | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """A rule that scores."""

    duty: Duty
    thresholds: Thresholds
    classifier: Classifier
    only_if: tuple[str, float, float] | None = None
    """(guard, low, high): runs only where that guard's score lies between."""
    memo: Memo | None = None
    """None: its scores are not remembered."""


@dataclass(frozen=True, slots=True)
class ScoredLane:
    """The scoring rules of one policy and stage."""

    rules: tuple[Scored, ...]
    stage: Stage
    folder: Folder
    cache: VerdictCache | None = None

    @property
    def idle(self) -> bool:
        return not self.rules

    @property
    def acts(self) -> bool:
        """Some rule does more than look on."""
        return any(rule.duty.mode == "enforce" for rule in self.rules)

    @property
    def remembers(self) -> bool:
        """There is something to ask the cache."""
        return self.cache is not None and any(rule.memo for rule in self.rules)

    def acting(self) -> ScoredLane:
        """The rules that act, and those whose scores they wait for."""
        acts = [r for r in self.rules if r.duty.mode == "enforce"]
        needed = {r.duty.name for r in acts} | {r.only_if[0] for r in acts if r.only_if}
        return replace(self, rules=tuple(r for r in self.rules if r.duty.name in needed))

    def without(self, names: Collection[str]) -> ScoredLane:
        return replace(self, rules=tuple(r for r in self.rules if r.duty.name not in names))

    def recall(self, texts: Sequence[Text]) -> Recall | None:
        """Ask the cache of these texts, for a `check` that comes later, or never. None: there is nothing to ask."""
        if self.cache is None or not self.remembers or not texts:
            return None
        memos = list({rule.memo.source: rule.memo for rule in self.rules if rule.memo}.values())
        return Recall.begin(self.cache, memos, map(sample, texts))

    async def check(
        self, texts: Sequence[Text], *, recall: Recall | None = None, patient: bool = False, quiet: bool = False
    ) -> list[Verdict]:
        """A verdict of every rule on every text that it can judge, the harmless ones included: `score` says which.

        `recall`: what the cache was asked of these very texts. `patient`: without limits of time, for work in batch.
        `quiet`: harmless verdicts are left out.
        """
        return await Round(self, texts, patient, quiet, recall or self.recall(texts)).run()


@dataclass(frozen=True, slots=True)
class Round:
    """One judgement of some texts by all rules of a lane."""

    lane: ScoredLane
    texts: Sequence[Text]
    patient: bool
    quiet: bool
    recall: Recall | None
    known: dict[tuple[str, int], float] = field(default_factory=dict)
    """(guard, index of the text) -> score, for the rules that wait for it."""
    recalled: dict[bytes, Scores] = field(default_factory=dict)
    """Key of a text -> its scores, of what the cache knows or a classifier has said since."""

    async def run(self) -> list[Verdict]:
        if self.recall is not None:
            self.recalled.update(await self.recall.scores())
        verdicts: list[Verdict] = []
        for _, wave in groupby(sorted(self.lane.rules, key=depth), key=depth):
            teams: dict[int, list[Scored]] = {}
            for rule in wave:
                teams.setdefault(id(rule.classifier), []).append(rule)
            for found in await asyncio.gather(*map(self._ask, teams.values())):
                verdicts += found
        return verdicts

    async def _ask(self, rules: Sequence[Scored]) -> list[Verdict]:
        """What the rules of one classifier say."""
        wanted: Sequence[int] = range(len(self.texts))
        if all(rule.only_if for rule in rules):
            wanted = [i for i in wanted if any(self._applies(rule, i) for rule in rules)]
        memo = common_memo(rules)
        best = self._remembered(memo, wanted)
        fresh = [i for i in wanted if i not in best]
        if not fresh:
            return self._verdicts(rules, best, 0.0)
        began = time.perf_counter()
        try:
            found = await self._classify(rules, fresh)
        except TimeoutError:
            return [*self._verdicts(rules, best, 0.0), *self._failed(rules, fresh, "timeout")]
        except ClassifierError as error:
            return [*self._verdicts(rules, best, 0.0), *self._failed(rules, fresh, error.reason)]
        self._remember(memo, found)
        best |= found
        return self._verdicts(rules, {i: best[i] for i in wanted}, time.perf_counter() - began)

    async def _classify(self, rules: Sequence[Scored], indices: Sequence[int]) -> dict[int, Scores]:
        """The highest scores of each of these texts."""
        groups = [self._samples(self.texts[i]) for i in indices]
        limit = None if self.patient else allowed(rules, [self.texts[i] for i in indices])
        async with asyncio.timeout(limit):
            scores = iter(await rules[0].classifier.classify([s for group in groups for s in group]))
        return {i: highest(list(islice(scores, len(group)))) for i, group in zip(indices, groups, strict=True)}

    def _remembered(self, memo: Memo | None, indices: Sequence[int]) -> dict[int, Scores]:
        if memo is None or self.recall is None:
            return {}
        keys, recalled = self.recall.keys[memo.source], self.recalled
        return {i: recalled[keys[i]] for i in indices if keys[i] in recalled}

    def _remember(self, memo: Memo | None, found: Mapping[int, Scores]) -> None:
        if memo is None or self.lane.cache is None or self.recall is None:
            return
        keyed = {self.recall.keys[memo.source][i]: scores for i, scores in found.items()}
        self.recalled.update(keyed)
        self.lane.cache.put_many({k: data for k, scores in keyed.items() if (data := memo.pack(scores)) is not None})

    def _applies(self, rule: Scored, index: int) -> bool:
        if rule.only_if is None:
            return True
        guard, low, high = rule.only_if
        score = self.known.get((guard, index))
        return score is not None and low <= score <= high

    def _samples(self, text: Text) -> list[Sample]:
        first = sample(text)
        return [first, *(replace(first, text=r) for r in readings(text.text, self.lane.folder))]

    def _verdicts(self, rules: Sequence[Scored], best: Mapping[int, Scores], took: float) -> list[Verdict]:
        found: list[Verdict] = []
        for i, scores in best.items():
            for rule in rules:
                given = scores.get(rule.duty.category)
                if given is not None and (rule.only_if is None or self._applies(rule, i)):
                    score = self.known[rule.duty.name, i] = round(given, 6)
                    would, threshold = rule.thresholds.judge(score)
                    if would is not Action.ALLOW or not self.quiet:
                        found.append(self._verdict(rule, self.texts[i], score, would, threshold, took=took))
        return found

    def _verdict(
        self, rule: Scored, text: Text, score: float, would: Action, threshold: float | None, *, took: float
    ) -> Verdict:
        duty = rule.duty
        return Verdict(
            guard=duty.name,
            stage=self.lane.stage,
            field=text.field,
            category=duty.category,
            action=would if duty.mode == "enforce" else Action.ALLOW,
            would=would,
            score=score,
            threshold=threshold,
            choice=text.choice,
            version=f"{duty.version}/{rule.classifier.version}",
            took=took,
        )

    def _failed(self, rules: Sequence[Scored], wanted: Sequence[int], error: str) -> list[Verdict]:
        """A failure is a verdict, and never a score that another rule could take for a safe one."""
        return [
            Verdict(
                guard=rule.duty.name,
                stage=self.lane.stage,
                field=self.texts[i].field,
                category=rule.duty.category,
                action=rule.duty.failing,
                would=rule.duty.on_error,
                score=0.0,
                choice=self.texts[i].choice,
                version=rule.duty.version,
                error=error,
            )
            for rule in rules
            for i in wanted
        ]


def sample(text: Text) -> Sample:
    return Sample(text.text, text.role, text.prompt[:CONTEXT])


def allowed(rules: Sequence[Scored], texts: Sequence[Text]) -> float:
    """Seconds that the texts may take: the longest time of any rule, and as much again for each `PAGE` characters.

    At most `PAGES` times as long, or one request of a few megabytes would keep a core busy for an hour.
    """
    size = sum(len(t.text) for t in texts)
    return max(rule.duty.timeout for rule in rules) * min(1 + size // PAGE, PAGES)


def common_memo(rules: Sequence[Scored]) -> Memo | None:
    """None where a rule wants each text judged anew: the others share its pass."""
    memos = [rule.memo for rule in rules]
    return memos[0] if all(memo is not None for memo in memos) else None


def highest(scores: Sequence[Scores]) -> dict[str, float]:
    """The highest probability of each category over all readings."""
    return {name: max(s[name] for s in scores if name in s) for name in {n for s in scores for n in s}}


def depth(rule: Scored) -> int:
    """Rules that wait for another's score come second."""
    return int(rule.only_if is not None)
