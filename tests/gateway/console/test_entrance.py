"""Who gets in, and which forms count."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from redis.asyncio import Redis

from gateway.live.embedded import EmbeddedRedis
from gateway.live.keys import Role
from tests.gateway.console.cases import opened
from tests.gateway.console.conftest import Console, console

POSTS = (
    "sign-out",
    "queue/next",
    "settings",
    "rest",
    "webhooks/d1/resend",
    "flags/f1/reveal",
    *(f"cases/c1/{verb}" for verb in ("claim", "renew", "reveal", "skip", "release", "rescore", "decision", "undo")),
    "cases/c1/supersede",
)
GETS = ("queue", "cases/c1", "history", "flags/f1", "stats", "agreement", "webhooks", "settings", "events")


def token(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found
    return found[1]


@asynccontextmanager
async def visitor(served: Console) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{served.url}/console/") as client:
        yield client


@asynccontextmanager
async def signed_in(served: Console, role: Role = "reviewer", tenant: str = "acme") -> AsyncIterator[httpx.AsyncClient]:
    async with visitor(served) as client:
        answer = await sign_in(client, await served.key(role, tenant))
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/queue")
        yield client


async def sign_in(client: httpx.AsyncClient, key: str, **fields: str) -> httpx.Response:
    page = await client.get("sign-in")
    return await client.post("sign-in", data={"csrf": token(page), "key": key, **fields})


@pytest.mark.parametrize("path", GETS)
async def test_who_is_not_signed_in_is_sent_to_sign_in_and_then_back(served: Console, path: str) -> None:
    async with visitor(served) as client:
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/console/sign-in?to=/console/{path}")
        assert token(await client.get(served.url + answer.headers["location"]))


@pytest.mark.parametrize("role", ["reviewer", "senior", "operator", "auditor", "admin"])
async def test_a_key_of_a_role_for_people_signs_in(served: Console, role: Role) -> None:
    async with signed_in(served, role) as client:
        answer = await client.get("queue")
    assert answer.status_code == 200
    assert role in answer.text


async def test_a_key_of_an_application_does_not_sign_in(served: Console) -> None:
    async with visitor(served) as client:
        answer = await sign_in(client, await served.key("app"))
    assert answer.status_code == 403
    assert "for an application" in answer.text
    assert "wardgate_session" not in answer.headers.get("set-cookie", "")


@pytest.mark.parametrize("key", ["", "wrong", "wg-reviewer-ünknown", "<script>"])
async def test_an_unknown_key_does_not_sign_in_and_is_not_repeated(served: Console, key: str) -> None:
    async with visitor(served) as client:
        answer = await sign_in(client, key)
    assert answer.status_code == 401
    assert not key or key not in answer.text


async def test_the_cookie_is_for_this_origin_and_no_script(served: Console) -> None:
    async with visitor(served) as client:
        answer = await sign_in(client, await served.key())
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("wardgate_session="))
    assert {"HttpOnly", "SameSite=strict", "Path=/console"} <= set(cookie.split("; "))


async def test_signing_in_needs_the_token_of_its_own_page(served: Console) -> None:
    async with visitor(served) as client:
        answer = await client.post("sign-in", data={"csrf": "guessed", "key": await served.key()})
        without = await client.post("sign-in", data={"key": await served.key()})
    assert (answer.status_code, without.status_code) == (403, 403)


@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example", "/console/../v1", "/console\\evil", "x"])
async def test_signing_in_never_leads_elsewhere(served: Console, to: str) -> None:
    async with visitor(served) as client:
        answer = await sign_in(client, await served.key(), to=to)
    assert answer.headers["location"] == "/console/queue"


@pytest.mark.parametrize("path", POSTS)
async def test_a_form_without_the_sessions_token_changes_nothing(served: Console, path: str) -> None:
    async with signed_in(served, "admin") as client:
        bare = await client.post(path)
        wrong = await client.post(path, data={"csrf": "guessed"})
        other = await client.post(
            path, data={"csrf": token(await client.get("queue"))}, headers={"sec-fetch-site": "cross-site"}
        )
    assert {bare.status_code, wrong.status_code, other.status_code} == {403}


async def test_one_sessions_token_is_nothing_to_another(served: Console) -> None:
    async with signed_in(served) as one, signed_in(served) as two:
        stolen = token(await one.get("queue"))
        assert (await two.post("queue/next", data={"csrf": stolen})).status_code == 403


async def test_signing_out_ends_the_session_everywhere(served: Console) -> None:
    async with signed_in(served) as client, visitor(served) as other:
        other.cookies.update(client.cookies)
        assert (await other.get("queue")).status_code == 200
        await client.post("sign-out", data={"csrf": token(await client.get("queue"))})
        assert (await other.get("queue")).status_code == 303


async def test_a_session_ends_when_its_key_is_revoked(served: Console) -> None:
    async with visitor(served) as client:
        key = await served.key()
        await sign_in(client, key)
        assert (await client.get("queue")).status_code == 200
        await served.store.revoke(key)
        await served.ring.refresh()
        assert (await client.get("queue")).status_code == 303


async def test_an_open_gateway_takes_any_name(redis: Redis) -> None:
    async with console(redis, tenants=False) as served, visitor(served) as client:
        nobody = await sign_in(client, "", name=" ")
        answer = await sign_in(client, "", name="Ann <b>")
        page = await client.get("queue")
    assert (nobody.status_code, answer.status_code) == (401, 303)
    assert "Ann &lt;b&gt;" in page.text


async def test_a_tenants_cases_are_nothing_to_another(served: Console) -> None:
    case = await opened(served)
    async with signed_in(served, "admin", "other") as client:
        page = await client.get("queue")
        answer = await client.get(f"cases/{case.id}")
        claim = await client.post(f"cases/{case.id}/claim", data={"csrf": token(page)})
    assert case.id not in page.text
    assert (answer.status_code, claim.status_code) == (404, 404)


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        ("reviewer", "history", 403),
        ("auditor", "history", 200),
        ("reviewer", "webhooks", 403),
        ("auditor", "webhooks", 403),
        ("operator", "webhooks", 200),
        ("auditor", "stats", 403),
        ("reviewer", "stats", 200),
    ],
)
async def test_a_role_sees_its_own_pages(served: Console, role: Role, path: str, status: int) -> None:
    async with signed_in(served, role) as client:
        answer = await client.get(path)
        menu = (await client.get("queue")).text
    assert answer.status_code == status
    assert (f'href="/console/{path}"' in menu) == (status == 200)


async def test_a_link_from_another_site_finds_the_session_in_a_second_look(served: Console) -> None:
    async with visitor(served) as client:
        answer = await client.get("queue", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert 'http-equiv="refresh"' in answer.text


@pytest.mark.parametrize("path", ["sign-in", "queue", "static/console.css", "nowhere/at/all", "cases/none"])
async def test_every_answer_forbids_what_is_not_its_own(served: Console, path: str) -> None:
    async with signed_in(served) as client:
        answer = await client.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["..%2froutes.py", "htmx.LICENSE", "x.js", "%2e%2e%2fpages.py", "console.css%00"])
async def test_no_other_file_is_served(served: Console, name: str) -> None:
    async with visitor(served) as client:
        assert (await client.get(f"static/{name}")).status_code == 404


async def test_a_file_that_has_not_changed_is_not_sent_again(served: Console) -> None:
    async with visitor(served) as client:
        first = await client.get("static/console.js")
        again = await client.get("static/console.js", headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


async def test_while_redis_is_away_the_page_says_so(server: EmbeddedRedis, client: Redis) -> None:
    async with console(client) as served, signed_in(served) as browser:
        server.stop()
        answer = await browser.get("queue")
    assert answer.status_code == 503
    assert "Redis does not answer" in answer.text
