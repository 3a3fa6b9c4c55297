"""The pages as a person uses them."""

from __future__ import annotations

import json
import time

import pytest
from playwright.async_api import Browser, expect

from tests.gateway.console.cases import HOSTILE, flagged, matter, opened, verdict
from tests.gateway.console.conftest import Console
from tests.gateway.console.people import Seen, barriers, person, settled, take


async def test_hostile_text_is_shown_and_does_nothing(browser: Browser, served: Console) -> None:
    text = matter(HOSTILE, question=HOSTILE, verdicts=[verdict(entity=HOSTILE, version=HOSTILE, spans=[[3, 40]])])
    case = await opened(served, text, model=HOSTILE[:60], policy=f"{HOSTILE[:40]}@1")
    await flagged(served, "req-<b>x", answer=HOSTILE, guard=HOSTILE)
    async with person(browser, served, "admin") as (page, seen):
        await take(page, case, served)
        await page.keyboard.press("3")
        shown = await page.locator(".judged .said").first.inner_text()
        assert "<script>document.title='owned'</script>" in shown
        assert "[click](javascript:alert(1))" in shown
        assert {"RLO", "ZWSP", "ESC", "tags: ign"} <= set(await page.locator(".judged .unseen").all_inner_texts())
        for path in ("queue", "history", "history?text=%3Cscript%3E&model=%22%3E%3Cb%3E", "flags/req-%3Cb%3Ex"):
            await page.goto(f"{served.url}/console/{path}")
            await settled(page)
        assert "owned" not in await page.title()
        assert await page.locator(".said img, .said svg, .said a, .said script, .said style").count() == 0
    assert seen == Seen()


async def test_a_new_case_appears_in_an_open_list_by_itself(browser: Browser, served: Console) -> None:
    async with person(browser, served) as (page, _):
        await page.wait_for_timeout(500)
        case = await opened(served)
        await expect(page.locator(f"#row-{case.id}")).to_be_visible()


async def test_filters_narrow_the_list_without_a_new_page(browser: Browser, served: Console) -> None:
    kept, left = await opened(served, source="redteam"), await opened(served)
    async with person(browser, served) as (page, _):
        await page.get_by_label("Source").select_option("redteam")
        await expect(page.locator(f"#row-{left.id}")).to_have_count(0)
        await expect(page.locator(f"#row-{kept.id}")).to_be_visible()
        assert "source=redteam" in page.url


async def test_settings_hold_for_the_session(browser: Browser, served: Console) -> None:
    async with person(browser, served) as (page, _):
        await page.goto(f"{served.url}/console/settings")
        await page.locator("label:has(input[name=theme][value=dark])").click()
        await page.get_by_label("without colour").check()
        await page.get_by_role("button", name="Save").click()
        await page.goto(f"{served.url}/console/queue")
        look = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert await page.locator("html[data-theme=dark][data-grey]").count() == 1
        assert look == "rgb(17, 21, 27)"


async def test_history_is_searched_by_text(browser: Browser, served: Console) -> None:
    await flagged(served, "req-one", answer="All about herons.")
    await flagged(served, "req-two")
    await flagged(served, "req-other", answer="herons too", tenant="other")
    async with person(browser, served, "operator") as (page, _):
        await page.goto(f"{served.url}/console/history")
        await settled(page)
        await page.keyboard.press("/")
        await page.keyboard.type("HERONS")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**text=HERONS**")
        assert await page.locator("[data-row]").all_inner_texts() == ["req-one"]
        await page.keyboard.press("Escape")
        await page.locator("[data-row]").click()
        await expect(page.locator(".judged .said")).to_have_text("All about herons.")


async def test_a_webhook_that_was_given_up_is_sent_again(browser: Browser, served: Console) -> None:
    letter = {"id": "d/1", "url": "https://app.example.org/x", "case": "case_1", "tenant": "acme", "error": "503"}
    served.shelf.letters.append({**letter, "at": time.time() - 60})
    async with person(browser, served, "operator") as (page, _):
        await page.goto(f"{served.url}/console/webhooks")
        async with page.expect_navigation():
            await page.get_by_role("button", name="Send again").click()
    assert served.shelf.sent == ["d/1"]


async def test_after_a_long_time_at_work_a_break_is_due(browser: Browser, served: Console) -> None:
    async with person(browser, served) as (page, _):
        [name] = await served.redis.keys("{wardgate}:session:*")
        now = time.time()
        await served.redis.hset(name, "work", json.dumps({"since": now - 3001, "seen": now - 60, "severe": 4}))
        await page.reload()
        await expect(page.get_by_text("Time for a break")).to_be_visible()
        await page.get_by_role("button", name="I am taking one now").click()
        await expect(page.get_by_text("Time for a break")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_no_page_has_a_serious_barrier(browser: Browser, served: Console, width: int, theme: str) -> None:
    severe = await opened(served, severity=3, categories=("violent_crimes",))
    case = await opened(served)
    await flagged(served, "req-one")
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": theme}
    async with person(browser, served, "admin", **options) as (page, seen):
        pages = ["queue", "history", "flags/req-one", "stats", "agreement", "webhooks", "settings", "cases/none"]
        found = [await barriers(page, f"{served.url}/console/{path}") for path in pages]
        for each in (severe, case):
            await take(page, each, served)
            await page.keyboard.press("3")
            found.append(await barriers(page))
            wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0
    assert [line for lines in found for line in lines] == []
    assert seen == Seen()
