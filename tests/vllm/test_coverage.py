"""Whatever text vLLM's own answers may carry is on the table of carriers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from gateway.wire.coverage import How, how
from tests.gateway.wire.schema import Texts
from tests.gateway.wire.test_coverage import MARK, SCHEMAS, shown

pytestmark = pytest.mark.vllm
PYTHON = Path(__file__).parents[2] / ".venv-vllm/bin/python"
ROOM = "vllm.entrypoints"
TYPES = (
    ("/v1/chat/completions", f"{ROOM}.openai.chat_completion.protocol", "ChatCompletionResponse"),
    ("/v1/chat/completions", f"{ROOM}.openai.chat_completion.protocol", "ChatCompletionStreamResponse"),
    ("/v1/completions", f"{ROOM}.openai.completion.protocol", "CompletionResponse"),
    ("/v1/completions", f"{ROOM}.openai.completion.protocol", "CompletionStreamResponse"),
    ("/v1/responses", f"{ROOM}.openai.responses.protocol", "ResponsesResponse"),
    ("/v1/messages", f"{ROOM}.anthropic.protocol", "AnthropicMessagesResponse"),
    ("/v1/messages", f"{ROOM}.anthropic.protocol", "AnthropicStreamEvent"),
)
WIRES = {wire.route: wire for wire, _, _ in SCHEMAS}
SHOW = "import sys, json, importlib; k = getattr(importlib.import_module(sys.argv[1]), sys.argv[2]);"
SHOW += "print('\\n' + json.dumps(k.model_json_schema()))"


@pytest.mark.parametrize(("surface", "module", "name"), TYPES, ids=[name for _, _, name in TYPES])
def test_every_text_of_vllms_schema_is_on_the_table(surface: str, module: str, name: str) -> None:
    done = subprocess.run([str(PYTHON), "-c", SHOW, module, name], capture_output=True, text=True, check=True)
    schema = json.loads(done.stdout.splitlines()[-1])
    found = list(Texts.of(schema, MARK))
    assert found
    assert {sample.path for sample in found if how(surface, sample.path) is None} == set()
    wire, streamed = WIRES[surface], "Stream" in name
    left = [s.path for s in found if MARK in shown(wire, s, streamed=streamed)]
    assert [path for path in left if how(surface, path) not in (How.PLAIN, How.DROPPED)] == []
