"""What a policy's guards say of a text that a person has rewritten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.plan import Guarded
from gateway.record import row
from gateway.review.case import Matter
from gateway.scoring import notable
from gateway.wire.judge import Judge
from gateway.wire.prompt import last_user_text
from guards.scored import Text
from guards.stream import TextFilter
from guards.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Rescorer:
    """The output guards of one policy."""

    guarded: Guarded

    async def verdicts(self, edits: Mapping[str, str], matter: Matter) -> list[dict[str, Any]]:
        """Of each text, what was found in it, as `Matter.verdicts` has it. Nothing: they would let it pass."""
        lanes, question = self.guarded.output, asked(matter.request)
        judge = Judge(lanes.enforced, lanes.monitored, self.guarded.folder, "output")
        for field, text in edits.items():
            judge.note(TextFilter.new(lanes.enforced, self.guarded.folder).feed(text, final=True), field, None)
            judge.watch_text(text, field, None)
        found: list[Verdict] = list(judge.verdicts)
        if not lanes.scored.idle:
            texts = [Text(text, field, "response", question) for field, text in edits.items() if text.strip()]
            found += notable(await lanes.scored.check(texts, quiet=True))
        return [row(verdict) for verdict in found]

    def redacted(self, text: str) -> str:
        """As it may leave when a person lets it: edits are made on texts before redactions, which hold all the same."""
        passing = self.guarded.output.enforced.passing()
        return TextFilter.new(passing, self.guarded.folder).feed(text, final=True).text


def asked(request: Mapping[str, Any]) -> str:
    """The user's last text, for guards that judge an answer by what it answers; empty where it cannot be told."""
    for name in ("messages", "input"):
        value = request.get(name)
        if isinstance(value, list):
            return last_user_text([each for each in value if isinstance(each, dict)])
        if isinstance(value, str):
            return value
    prompt = request.get("prompt")
    return prompt if isinstance(prompt, str) else ""
