"""Several workers look like one gateway: to clients, and to whoever scrapes it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes import fake_vllm
from tests.gateway.harness import EMAIL, ask, document, wardgate_serve

REQUESTS = 40


def total(exposition: str, name: str, **labels: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def test_one_scrape_of_two_workers_sums_right(tmp_path: Path) -> None:
    async with (
        fake_vllm() as vllm,
        wardgate_serve(document(vllm.url, EMAIL), tmp_path, "--workers", "2") as gateway,
    ):
        for _ in range(REQUESTS // 10):
            await asyncio.gather(*(ask(gateway.url, "I am ada@example.com") for _ in range(10)))
        await ask(gateway.url, model="nobody")
        async with httpx.AsyncClient() as client:
            scrapes = [(await client.get(f"{gateway.url}/metrics")).text for _ in range(4)]
    for scrape in scrapes:
        assert total(scrape, "wardgate_requests_total", status="200", model_name="assistant") == REQUESTS
        assert total(scrape, "wardgate_requests_total", status="404") == 1
        assert total(scrape, "wardgate_guard_decisions_total", guard="pii", action="redact") == REQUESTS
        assert total(scrape, "wardgate_flagged_exchanges_total") == REQUESTS
        assert total(scrape, "wardgate_requests_in_flight") == 0
        assert total(scrape, "wardgate_request_duration_seconds_count", model_name="assistant") == REQUESTS
