"""An upstream's error may repeat the prompt, or the owner's instructions, in any of its fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import Reply, fake_vllm
from tests.gateway.harness import CODENAME, EMAIL, ask, document, gateway

MAIL = "ada@example.com"
PLAIN: dict[str, Any] = {"message": "No such thing.", "type": "BadRequestError", "param": "p", "code": 400}


@pytest.mark.parametrize(
    "body",
    [
        {"error": PLAIN | {"message": f"cannot read '{MAIL}'"}},
        {"error": PLAIN | {"param": MAIL}},
        {"error": PLAIN | {"innererror": {"input": [MAIL]}}},
        {"error": PLAIN | {"message": [MAIL]}},
        {"error": PLAIN | {MAIL: 1}},
        {"error": PLAIN, "detail": "It is Project Titan."},
    ],
)
async def test_no_field_of_an_upstreams_error_passes_unjudged(
    body: dict[str, Any], tmp_path: Path, redis_url: str
) -> None:
    async with (
        fake_vllm(Reply([json.dumps(body).encode()], 400)) as vllm,
        gateway(document(vllm.url, EMAIL, CODENAME), tmp_path, redis_url) as url,
    ):
        answer = await ask(url)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "The upstream answered with status 400."
    assert MAIL not in answer.text
    assert "Titan" not in answer.text
