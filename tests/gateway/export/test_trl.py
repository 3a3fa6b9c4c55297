"""The golden rows as TRL reads them. Needs `trl` and `transformers`, which the gateway's own environment has not.

It imports nothing of the gateway, so that it runs in any environment that has those.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="trl is not installed: `make test-vllm` runs this")
data_utils: Any = pytest.importorskip("trl.data_utils")
transformers: Any = pytest.importorskip("transformers")
tokenizers: Any = pytest.importorskip("tokenizers")

GOLDEN = Path(__file__).parent / "golden"
TEMPLATE = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
    "{% endfor %}</{{ m.role }}>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
COLUMNS = {
    "sft": {"messages"},
    "sft-pc": {"prompt", "completion"},
    "dpo": {"prompt", "chosen", "rejected"},
    "kto": {"prompt", "completion", "label"},
    "reward": {"chosen", "rejected", "margin"},
    "grpo": {"prompt", "policy"},
    "axolotl-sft": {"messages"},
}


def rows(format: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / f"{format}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel({"x": 0}, unk_token="x"))
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=core)
    made.chat_template = TEMPLATE
    return made


@pytest.mark.parametrize("format", sorted(COLUMNS))
def test_trl_takes_every_row_for_a_conversation_and_renders_it(format: str, tokenizer: Any) -> None:
    for row in rows(format):
        assert row.keys() - {"tools"} == COLUMNS[format]
        assert data_utils.is_conversational(row)
        tools = json.loads(row["tools"]) if "tools" in row else None
        rendered = data_utils.apply_chat_template(row, tokenizer, tools=tools)
        assert all(isinstance(text, str) and text for name, text in rendered.items() if name != "label")


def test_trl_finds_the_prompt_of_a_reward_row() -> None:
    for row in rows("reward"):
        found = data_utils.extract_prompt(row)
        assert found["prompt"] == row["chosen"][:-1]
        assert [len(found["chosen"]), len(found["rejected"])] == [1, 1]


def test_datasets_make_one_table_of_every_format() -> None:
    datasets = pytest.importorskip("datasets")
    for format in COLUMNS:
        assert len(datasets.Dataset.from_list(rows(format))) == len(rows(format))


def test_pairs_come_apart_into_rows_with_labels() -> None:
    datasets = pytest.importorskip("datasets")
    pairs = datasets.Dataset.from_list(rows("dpo"))
    apart = data_utils.unpair_preference_dataset(pairs)
    assert len(apart) == 2 * len(pairs)
    assert set(apart.column_names) >= {"prompt", "completion", "label"}
