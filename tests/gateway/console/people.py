"""A person before Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from gateway.live.keys import Role
from gateway.review.case import Case
from tests.gateway.console.conftest import Console

AXE = (Path(__file__).parent / "axe.min.js").read_text()
SERIOUS = ("serious", "critical")


@dataclass
class Seen:
    """What went wrong in a page without anybody seeing it."""

    violations: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@asynccontextmanager
async def person(
    browser: Browser, served: Console, role: Role = "reviewer", **options: Any
) -> AsyncIterator[tuple[Page, Seen]]:
    """Somebody who is signed in, and looks at the queue."""
    context = await browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    page, seen = await context.new_page(), Seen()
    page.set_default_timeout(10_000)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("console", lambda m: seen.violations.append(m.text) if "Content Security Policy" in m.text else None)
    page.on("request", lambda r: seen.outside.append(r.url) if not r.url.startswith(served.url) else None)
    await page.goto(f"{served.url}/console")
    await page.get_by_label("Review key").fill(await served.key(role))
    await page.keyboard.press("Enter")
    await page.wait_for_selector(".who")
    await settled(page)
    yield page, seen
    await context.close()


async def take(page: Page, case: Case, served: Console) -> None:
    await page.goto(f"{served.url}/console/cases/{case.id}")
    await settled(page)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#decide")
    await settled(page)


async def settled(page: Page) -> None:
    """Its scripts have run."""
    await page.wait_for_selector("body[data-ready]")


async def barriers(page: Page, url: str = "") -> list[str]:
    """What axe finds (https://github.com/dequelabs/axe-core), the serious ones."""
    if url:
        await page.goto(url)
    await page.evaluate(AXE)
    result = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [v for v in result["violations"] if v["impact"] in SERIOUS]
    return [
        f"{page.url} {v['id']}: {node['html'][:120]} {node['failureSummary']}" for v in serious for node in v["nodes"]
    ]
