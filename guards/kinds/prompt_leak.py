"""Kind `prompt_leak`: an answer that repeats a long run of the owner's system prompt.

Letters and digits alone are compared, folded, so that spacing, punctuation, markup and case hide nothing. A run shorter
than `min_run` letters is a coincidence. Of a longer one all but its first few letters are the finding: those are what
ordinary prose may share with any prompt, and treating them as harmless lets ordinary streams pass without being held.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from guards.guard import Found, Match, Window
from guards.text.fold import Folder

RUN = 40
SHORTEST = 12
PLACEHOLDER = "[PROMPT_LEAK]"


@dataclass(frozen=True, slots=True)
class PromptLeak:
    """The owner's prompt, ready to be recognised."""

    letters: str
    run: int
    """Letters in a row that make a leak."""
    slack: int
    """Letters at the beginning of a run that are not part of the finding."""
    grams: frozenset[str]
    folder: Folder

    @classmethod
    def build(cls, prompt: str, min_run: int = RUN) -> PromptLeak:
        folder = Folder.new(lower=True)
        letters = "".join(filter(str.isalnum, folder.fold(prompt)))
        run = min(min_run, len(letters)) if len(letters) >= SHORTEST else 1 << 30
        slack = min(12, run // 3)
        grams = frozenset(letters[i : i + slack] for i in range(len(letters) - slack + 1))
        return cls(letters, run, slack, grams, folder)

    def track(self) -> LeakTracker:
        return LeakTracker(self)


@dataclass(slots=True)
class LeakTracker:
    """Keeps the recent letters and, near the prompt's words, the longest suffix of them that the prompt contains."""

    leak: PromptLeak
    seen: int = 0
    letters: str = ""
    where: list[int] = field(default_factory=list)
    """Absolute raw index of each kept letter."""
    suffix: int = 0
    close: bool = False
    """Whether letters are being compared one by one."""
    open: Match | None = None
    told: int = 0
    """Absolute raw index before which findings have been reported."""

    def scan(self, window: Window) -> Found:
        fresh = window.text[max(0, self.seen - window.origin) :]
        start = len(self.letters)
        self._take(fresh, window.origin + len(window.text) - len(fresh))
        self.seen = window.origin + len(window.text)
        matches: list[Match] = []
        if self.close or self._suspicious(start):
            matches = self._compare(start)
        if window.final:
            self._close(matches)
        alive = self.seen if window.final else self._alive()
        self._trim()
        return Found(matches, alive)

    def _take(self, fresh: str, at: int) -> None:
        folder = self.leak.folder
        if fresh.isascii():
            pairs = [(c, at + i) for i, c in enumerate(fresh.lower()) if c.isalnum()]
        else:
            pairs = [(f, at + i) for i, c in enumerate(fresh) for f in folder.fold(c) if f.isalnum()]
        if pairs:
            self.letters += "".join(c for c, _ in pairs)
            self.where += [i for _, i in pairs]

    def _suspicious(self, start: int) -> bool:
        """Every run holds one of the prompt's grams at each stride, and a run still growing ends in one."""
        leak, n = self.leak, len(self.letters)
        step = max(1, leak.run - leak.slack)
        return any(
            self.letters[e - leak.slack : e] in leak.grams
            for e in (*range(max(start, leak.slack), n, step), n)
            if e >= leak.slack
        )

    def _compare(self, start: int) -> list[Match]:
        if not self.close:
            self.close, self.suffix = True, 0
            start = 0
        matches: list[Match] = []
        prompt = self.leak.letters
        for j in range(start, len(self.letters)):
            suffix = self.suffix + 1
            while suffix and self.letters[j + 1 - suffix : j + 1] not in prompt:
                suffix -= 1
            self.suffix = suffix
            self._mark(j, matches)
        self.close = self.suffix >= self.leak.slack or self.open is not None
        return matches

    def _mark(self, j: int, matches: list[Match]) -> None:
        """Extend the open finding, or close it once the letters part from the prompt."""
        if self.suffix >= self.leak.run:
            first = self.where[j + 1 - self.suffix + self.leak.slack]
            if self.open is None or first > self.open.end:
                self._close(matches)
                self.open = Match(first, first, "prompt_leak", PLACEHOLDER)
            self.open = self.open._replace(end=self.where[j] + 1)
        elif self.suffix <= self.leak.slack:
            self._close(matches)

    def _close(self, matches: list[Match]) -> None:
        if self.open is not None and self.open.start >= self.told:
            matches.append(self.open)
            self.told = self.open.end
        self.open = None

    def _alive(self) -> int:
        if self.open is not None:
            return self.open.start if self.open.start >= self.told else self.seen
        if self.close and self.suffix > self.leak.slack:
            return self.where[len(self.letters) - self.suffix + self.leak.slack]
        return self.seen

    def _trim(self) -> None:
        """Keep enough letters to see where a run began."""
        keep = max(self.suffix, 2 * self.leak.run if self.leak.run < 1 << 20 else 0) + 1
        if len(self.letters) > 8 * keep:
            self.letters = self.letters[-keep:]
            self.where = self.where[-keep:]
