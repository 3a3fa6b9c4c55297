from __future__ import annotations

import pytest

from guards.catalog import build_lanes
from guards.policy import Policy
from tests.guards.lanes import FOLDER, found, rule, whole

LANE = build_lanes(Policy(name="p", guards=(rule("hidden", "unicode"),)), "input", FOLDER).enforced


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("a\u200bb", "zero_width"),
        ("a\u200db", "zero_width"),
        ("x\u202ey", "bidi"),
        ("hi\U000e0049\U000e0067", "tag"),
        ("paypаl", "homoglyph"),
        ("soft\u00adhyphen", "zero_width"),
    ],
)
def test_what_hides_text_is_found_and_removed(text: str, entity: str) -> None:
    release = whole(LANE, text)
    assert entity in {row[3] for row in found([release])}
    assert len(release.text) < len(text)


@pytest.mark.parametrize("text", ["👩‍👩‍👧", "می‌خواهم", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "क्‍ष", "❤️", "Привет, мир", "naïve café", "Ελλάδα", "plain"])
def test_scripts_and_emoji_that_need_such_characters_pass(text: str) -> None:
    assert whole(LANE, text).text == text
