"""Whatever a model says, and however an upstream says it, no stream shows what the whole run would have withheld.

Ten thousand random answers for each surface. Their texts hold secrets in many guises, in every carrier that the surface
has; streams are cut, mixed, and badly ended. What may be seen is told by the exact guards alone, each text whole, and
by the same answer sent whole through the surface.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Mapping

import orjson
import pytest

from guards.lane import Lane
from guards.verdict import Action
from tests.gateway.wire.attacks.chance import Chance
from tests.gateway.wire.attacks.chat import ChatAttack
from tests.gateway.wire.attacks.completions import CompletionsAttack
from tests.gateway.wire.attacks.messages import MessagesAttack
from tests.gateway.wire.attacks.oracle import (
    LOOSE,
    Allowed,
    Attack,
    Carrier,
    Mode,
    Said,
    answering,
    drive,
    frames_of,
    lane,
    leaked,
    payloads_of,
)
from tests.gateway.wire.attacks.responses import ResponsesAttack

REDACT, BLOCK = Action.REDACT, Action.BLOCK
LANES = (lane(REDACT, REDACT), lane(BLOCK, REDACT), lane(REDACT, BLOCK), lane(REDACT, REDACT))
ATTACKS: Mapping[str, Callable[[Chance], Attack]] = {
    "chat": ChatAttack,
    "completions": CompletionsAttack,
    "messages": MessagesAttack,
    "responses": ResponsesAttack,
}
BLOCKS, CASES = 20, 500


@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("surface", ATTACKS)
def test_no_stream_shows_what_the_whole_run_withholds(surface: str, block: int) -> None:
    for n in range(CASES):
        seed = f"{surface} {block} {n}"
        chance = Chance(random.Random(seed))
        try:
            check(ATTACKS[surface](chance), chance, chance.r.choice(LANES))
        except AssertionError as error:
            raise AssertionError(f"case {seed!r}: {error}") from error


def check(attack: Attack, chance: Chance, lane: Lane) -> None:
    sent = attack.stream()
    out, broken = drive(attack.wire, answering(attack.wire, lane, attack.request()), sent)
    frames = frames_of(out)
    refused = attack.check_form(frames, broken=broken)
    upstream = attack.read([orjson.loads(p) for p in sent if p != b"[DONE]"], sent=True)
    said = attack.read(payloads_of(frames), sent=False)
    allowed = Allowed.of(lane, upstream)
    if not attack.contradicts:
        allowed.check(said, refused, broken=broken)
    assert leaked(allowed.hidden(chance), b"".join(out), said) == []
    if not broken and (body := attack.body()) is not None:
        check_whole(attack, lane, body, said, refused)


def check_whole(attack: Attack, lane: Lane, body: dict[str, object], said: Said, refused: set[int]) -> None:
    """The whole run blocks the same choices, and of the others says the same."""
    _, blocked = answering(attack.wire, lane, attack.request()).whole(body)
    assert set(blocked) == refused
    whole = attack.read_whole(body)
    for carrier in whole:
        if carrier.mode not in LOOSE and carrier.choice not in refused:
            assert meant(said, carrier) == meant(whole, carrier), carrier


def meant(said: Said, carrier: Carrier) -> object:
    """What a carrier says, however JSON is written."""
    text = "".join(said.get(carrier, ()))
    with contextlib.suppress(ValueError):
        return json.loads(text) if carrier.mode is Mode.JSON else text
    return text
