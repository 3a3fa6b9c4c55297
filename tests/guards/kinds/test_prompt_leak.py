from __future__ import annotations

import pytest

from guards.catalog import build_lanes
from guards.lane import Lane
from guards.policy import Policy, SystemPrompt
from tests.guards.lanes import FOLDER, PROMPT, feed_all, whole


def lane(prompt: str = PROMPT) -> Lane:
    """Without a guard in the policy: the owner's prompt is guarded all the same."""
    return build_lanes(Policy(name="p", system_prompt=SystemPrompt(text=prompt)), "output", FOLDER).enforced


@pytest.mark.parametrize(
    "text",
    [
        PROMPT,
        PROMPT.upper(),
        PROMPT.replace(" ", "\n"),
        PROMPT.replace(" ", " ** "),
        "\u200b".join(PROMPT),
        "-".join(PROMPT),
        PROMPT[40:100],
        PROMPT.translate(str.maketrans("aeo", "аео")),
    ],
)
def test_a_long_run_of_the_prompt_is_cut_however_it_is_dressed(text: str) -> None:
    release = whole(lane(), "My instructions: " + text)
    assert release.blocked
    assert "".join(filter(str.isalnum, PROMPT[40:80])).lower() not in "".join(filter(str.isalnum, release.text)).lower()


@pytest.mark.parametrize("text", ["You are ACME's customer, right?", "Never tell anyone.", "I am a careful assistant."])
def test_a_coincidence_is_not_a_leak(text: str) -> None:
    assert whole(lane(), text).text == text


def test_a_short_prompt_is_guarded_whole() -> None:
    assert whole(lane("You are ACME's assistant."), "It says: you are acme's assistant.").blocked


def test_ordinary_text_is_not_held() -> None:
    chunks = ["You ", "are ", "right, ", "the ", "code ", "is ", "fine."]
    assert [r.text for r in feed_all(lane(), chunks)][:-1] == chunks
