"""vLLM's own figures, read from its `/metrics`."""

from __future__ import annotations

import time

import httpx
from prometheus_client.parser import text_string_to_metric_families


class Meter:
    """What vLLM says of its work."""

    def __init__(self, url: str) -> None:
        self.url = url

    def running(self) -> float:
        """Sequences that it generates at this moment."""
        return self._sum("vllm:num_requests_running")

    def generated(self) -> float:
        """Tokens that it has written since it started."""
        return self._sum("vllm:generation_tokens_total")

    def read_tokens(self) -> float:
        """Prompt tokens that it has read since it started."""
        return self._sum("vllm:prompt_tokens_total")

    def idle_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.running() > 0:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _sum(self, name: str) -> float:
        page = httpx.get(f"{self.url}/metrics", timeout=5.0, trust_env=False).raise_for_status().text
        samples = [s for family in text_string_to_metric_families(page) for s in family.samples if s.name == name]
        if not samples:
            raise LookupError(f"vLLM shows no {name}")
        return sum(s.value for s in samples)
