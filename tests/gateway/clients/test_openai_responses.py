"""`client.responses` of the official clients, beside what test_responses_sdk.py shows of shapes: every situation."""

from __future__ import annotations

import openai
import pytest
from pydantic import BaseModel

from tests.gateway.clients.model import BAD_CALL, BAD_JSON, CUT, GOOD_CALL, JSON, SAYS
from tests.gateway.clients.openai_ways import Connect
from tests.gateway.clients.test_openai import check_filtered
from tests.gateway.clients.world import (
    ABSENT,
    BLOCKED_IN,
    BLOCKED_OUT,
    BLOCKED_PROMPT,
    CASES,
    ERROR,
    FETCH,
    FORBIDDEN,
    NORMAL,
    REFUSAL,
    SINGLE,
    Case,
    Seen,
)

TOOLS = [{"type": "function", "name": "fetch", "parameters": FETCH, "strict": False}]


class Trip(BaseModel):
    city: str
    days: int


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_every_answer_reads_the_same_whole_streamed_and_by_the_helper(case: Case, connect: Connect) -> None:
    way = connect()
    end = "incomplete" if case.blocked else "completed"
    assert await way.responded(case.prompt) == Seen(case.whole, end, case.action)
    assert await way.responses_streamed(case.prompt) == Seen(case.streamed, end, case.action)
    final = await way.responses_helped(case.prompt)
    assert (final.output_text, final.status) == (case.streamed, end)
    if case.blocked:
        assert final.incomplete_details.reason == "content_filter"


async def test_what_is_blocked_is_a_bad_request_under_error(connect: Connect) -> None:
    way = connect()
    for case in (BLOCKED_IN, BLOCKED_OUT):
        with pytest.raises(openai.BadRequestError) as caught:
            await way.responded(case.prompt, ERROR)
        check_filtered(caught.value)
    for ask in (way.responses_streamed, way.responses_helped):
        with pytest.raises(openai.BadRequestError) as caught:
            await ask(BLOCKED_PROMPT, ERROR)
        check_filtered(caught.value)
    late = await way.responses_streamed(BLOCKED_OUT.prompt, ERROR)
    assert late == Seen(BLOCKED_OUT.streamed, "incomplete", "block")


async def test_a_parsed_answer_is_an_object_and_a_blocked_one_a_refusal(connect: Connect) -> None:
    way = connect()
    for prompt, parsed in ((JSON, Trip(city="Oslo", days=2)), (BAD_JSON, None), (BLOCKED_PROMPT, None)):
        whole = await way.call(lambda c, p=prompt: c.responses.parse(model="assistant", input=p, text_format=Trip))
        streamed = await way.responses_helped(prompt, text_format=Trip)
        for response in (whole, streamed):
            assert response.output[-1].content[-1].type == ("output_text" if parsed else "refusal")
            assert getattr(response, "output_parsed", None) == parsed


async def test_a_blocked_tool_call_is_a_refusal(connect: Connect) -> None:
    way = connect()
    for ask in (way.responded, way.responses_streamed):
        good = await ask(GOOD_CALL, tools=TOOLS)
        assert (good.end, good.calls) == ("completed", (("fetch", SAYS[GOOD_CALL]),))
        assert await ask(BAD_CALL, tools=TOOLS) == Seen(REFUSAL, "incomplete", "block")
    with pytest.raises(openai.BadRequestError):
        await way.responded(BAD_CALL, ERROR, tools=TOOLS)


async def test_errors_are_the_documented_ones(connect: Connect) -> None:
    way, nobody, single = connect(), connect(FORBIDDEN), connect(SINGLE)
    await single.responded(NORMAL.prompt)
    for name in ("responded", "responses_streamed", "responses_helped"):
        with pytest.raises(openai.RateLimitError) as limited:
            await getattr(single, name)(NORMAL.prompt)
        assert limited.value.response.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.InternalServerError) as down:
            await getattr(way, name)(NORMAL.prompt, ABSENT)
        assert (down.value.status_code, down.value.code) == (503, "upstream_unavailable")
        with pytest.raises(openai.AuthenticationError):
            await getattr(nobody, name)(NORMAL.prompt)


async def test_a_stream_that_breaks_off_is_an_api_error(connect: Connect) -> None:
    way = connect(retries=2)
    for ask in (way.responses_streamed, way.responses_helped):
        with pytest.raises(openai.APIError) as caught:
            await ask(CUT)
        assert caught.value.code == "upstream_broken"
