"""A real vLLM with a Wardgate before it, both as processes, and the official SDK as their client; once a session."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.vllm.asking import MODEL, OWNER
from tests.vllm.meter import Meter
from tests.vllm.server import Server, vllm, wardgate
from tests.vllm.spelling import Spelling

HERE = Path(__file__).parent
VLLM_PYTHON = HERE.parents[1] / ".venv-vllm" / "bin" / "python"


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not VLLM_PYTHON.exists():
        pytest.fail("These tests need the CPU build of vLLM: run `make test-vllm`.")
    folder = tmp_path_factory.mktemp("model")
    subprocess.run([VLLM_PYTHON, HERE / "tiny_model.py", folder], check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="session")
def vllm_server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("vllm") / "vllm.log"
    with vllm(model_folder, python=VLLM_PYTHON, name=MODEL, log=log) as server:
        yield server


@pytest.fixture(scope="session")
def gateway(vllm_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("wardgate")
    env = {"WARDGATE_DATA": str(folder / "data"), "VLLM_URL": vllm_server.url, "OWNER_PROMPT": OWNER}
    command = Path(sys.executable).with_name("wardgate")
    with wardgate(HERE / "wardgate.yaml", command=command, env=env, log=folder / "wardgate.log") as server:
        yield server


@pytest.fixture(scope="session")
def client(gateway: Server) -> Iterator[OpenAI]:
    """The SDK on the gateway."""
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def direct(vllm_server: Server) -> Iterator[OpenAI]:
    """The SDK on vLLM itself: what an application would see without the gateway."""
    with OpenAI(base_url=f"{vllm_server.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def meter(vllm_server: Server) -> Meter:
    return Meter(vllm_server.url)


@pytest.fixture(scope="session")
def spelling(vllm_server: Server) -> Spelling:
    return Spelling(vllm_server.url)
