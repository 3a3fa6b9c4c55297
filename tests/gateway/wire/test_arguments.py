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
