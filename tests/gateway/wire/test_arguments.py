from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.arguments import Arguments
from guards.catalog import build_lanes
from guards.policy import Policy
from guards.stream import TextFilter
from tests.guards.lanes import FOLDER, rule

LANE = build_lanes(Policy(name="p", guards=(rule("pii", "pii"), rule("s", "secrets"))), "output", FOLDER).enforced


def redact(raw: str) -> str:
    view = Arguments.read(raw)
    release = TextFilter.new(LANE, FOLDER).feed(view.text, final=True)
    return view.redact(release.decisions, lambda _: True)


@pytest.mark.parametrize(
    ("raw", "out"),
    [
        ('{"to": "a@b.io"}', '{"to": "[EMAIL]"}'),
        ('{"to": "\\u0061\\u0040b.io", "n": 1}', '{"to": "[EMAIL]", "n": 1}'),
        ('{"card": 4111111111111111}', '{"card": "[CARD]"}'),
        ('{"a": {"b": ["x", "mail a@b.io now\\n"]}}', '{"a": {"b": ["x", "mail [EMAIL] now\\n"]}}'),
        ('{"a@b.io": true}', '{"[EMAIL]": true}'),
        ('{"to": "a@b.io', '{"to": "[EMAIL]'),
        ('{"note": "4111 1111 1111 1111 and \\"quoted\\""}', '{"note": "[CARD] and \\"quoted\\""}'),
        ('{"to": "a@b.io \\u00', '{"to": "[EMAIL] \\u00'),
        ('{"to": "\\u', '{"to": "\\u'),
        ("", ""),
    ],
)
def test_findings_are_replaced_inside_the_json(raw: str, out: str) -> None:
    assert redact(raw) == out


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["a@b.io", "4111 1111 1111 1111"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(value=values, ascii=st.booleans())
def test_valid_json_stays_valid(value: object, ascii: bool) -> None:
    out = redact(json.dumps(value, ensure_ascii=ascii))
    json.loads(out)
    assert "a@b.io" not in out


@pytest.mark.parametrize("text", ["\U0001d4ea@b.io", "a\U000e0041@b.io", "\U0001f642 a@b.io"])
def test_characters_beyond_the_basic_plane_are_read_through_their_escapes(text: str) -> None:
    escaped, plain = json.dumps({"to": text}), json.dumps({"to": text}, ensure_ascii=False)
    assert Arguments.read(escaped).text == plain
    assert json.loads(redact(escaped)) == json.loads(redact(plain))


def test_an_escape_that_is_cut_off_is_no_letter_of_the_word_before_it() -> None:
    assert redact('["a@b.io\\u0') == '["[EMAIL]\\u0'


def test_of_two_findings_that_overlap_none_is_lost_in_the_escapes() -> None:
    raw = json.dumps({"to": "j\u043ehn@ex\u0430mple.com"})
    lane = build_lanes(Policy(name="p", guards=(rule("pii", "pii"), rule("h", "unicode"))), "output", FOLDER).enforced
    view = Arguments.read(raw)
    release = TextFilter.new(lane, FOLDER).feed(view.text, final=True)
    assert view.redact(release.decisions, lambda _: True) == '{"to": "[EMAIL]"}'
