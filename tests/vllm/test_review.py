"""An answer of a real vLLM is held, a reviewer edits it in his browser, and the SDK fetches what he wrote."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion
from playwright.sync_api import Page, expect, sync_playwright

from tests.vllm.asking import QUESTION, saying
from tests.vllm.server import Server

pytestmark = pytest.mark.vllm
NOTICE = "A person will look."
SAID = "Project Titan is ready, write to ada@example.com."
EDITED = "It is ready."


def decided(client: OpenAI, id: str) -> ChatCompletion:
    """The answer, once the decision has taken effect."""
    for _ in range(100):
        answer = client.chat.completions.retrieve(id)
        if (answer.model_extra or {})["wardgate"]["status"] == "decided":
            return answer
        time.sleep(0.1)
    pytest.fail("the decision did not take effect")


def whole(client: OpenAI) -> str:
    answer = client.chat.completions.create(model="reviewed", messages=QUESTION, extra_body=saying(SAID))
    assert answer.choices[0].message.content == NOTICE
    assert answer.choices[0].finish_reason == "content_filter"
    return answer.id


def streamed(client: OpenAI) -> str:
    with client.chat.completions.create(
        model="reviewed", messages=QUESTION, stream=True, extra_body=saying(SAID)
    ) as stream:
        chunks = list(stream)
    text = "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices)
    assert text == NOTICE
    return chunks[0].id


def edit(page: Page, url: str) -> None:
    """As a reviewer does, by keyboard."""
    page.goto(f"{url}/console")
    page.locator("form input:not([type=hidden])").first.fill("ann")
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-ready] .who")
    page.keyboard.press("n")
    page.wait_for_url("**/cases/**")
    page.wait_for_selector("body[data-ready]")
    expect(page.locator(".judged .said").first).to_contain_text("Project Titan")
    page.keyboard.press("3")
    page.keyboard.press("e")
    box = page.locator("textarea:visible").first
    expect(box).to_be_focused()
    box.fill(EDITED)
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/queue**")


@pytest.mark.parametrize("ask", [whole, streamed])
def test_what_a_reviewer_writes_is_what_the_sdk_fetches(
    client: OpenAI, gateway: Server, ask: Callable[[OpenAI], str]
) -> None:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    id = ask(client)
    assert client.chat.completions.retrieve(id).choices[0].message.content == NOTICE
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        edit(browser.new_page(), gateway.url)
        browser.close()
    assert decided(client, id).choices[0].message.content == EDITED


def test_responses_are_fetched_by_their_id_too(client: OpenAI) -> None:
    answer = client.responses.create(model="reviewed", input="What does a gateway do?", extra_body=saying(SAID))
    assert answer.output_text == NOTICE
    fetched = client.responses.retrieve(answer.id)
    assert fetched.output_text == NOTICE
