from __future__ import annotations

import asyncio
import contextlib
import ssl
import zlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import trustme

from gateway.upstream.connection import HIGH, MAX_HEAD, MAX_UNPACKED, BrokenAnswer, Connection
from gateway.upstream.pool import Pool, authority, target
from tests.fakes import CLOSE, FOREVER, Piece, RawServer, raw_head, raw_server

REQUEST = b"POST /v1 HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"
OK = raw_head("content-length: 2") + b"{}"
CHUNKED = raw_head("transfer-encoding: chunked")
END = b"0\r\n\r\n"


@contextlib.asynccontextmanager
async def serving(*scripts: list[Piece]) -> AsyncIterator[tuple[RawServer, Pool]]:
    async with raw_server(*scripts) as raw, asyncio.timeout(5):
        pool = Pool(urlsplit(raw.url))
        yield raw, pool
        pool.close()


async def asked(pool: Pool, seconds: float = 2, idle: float = 2) -> Connection:
    connection = pool.take() or await pool.connect(1)
    await connection.ask(REQUEST, b"", seconds, idle)
    return connection


async def body_of(connection: Connection) -> bytes:
    pieces = []
    while piece := await connection.read():
        pieces.append(piece)
    return b"".join(pieces)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def reused(pool: Pool, raw: RawServer) -> bool:
    """Ask again: whether the same connection served."""
    again = await asked(pool)
    await body_of(again)
    again.release()
    return raw.connections == 1


# ---------------------------------------------------------------- heads


async def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with serving([interim, OK], [OK]) as (raw, pool):
        connection = await asked(pool)
        assert (connection.status, "link" in connection.headers) == (200, False)
        assert await body_of(connection) == b"{}"
        connection.release()
        assert await reused(pool, raw)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        raw_head("content-encoding: br", "content-length: 2") + b"{}",
        raw_head("content-length: 2", "transfer-encoding: chunked"),
        raw_head("content-length: two"),
        raw_head("content-length: 2", "content-length: 3"),
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * (MAX_HEAD // 6 + 1),
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * (MAX_HEAD + 1),
    ],
    ids=["upgrade", "unknown encoding", "two framings", "no length", "two lengths", "many headers", "long header"],
)
async def test_a_head_that_cannot_be_trusted_breaks_the_answer(head: bytes) -> None:
    async with serving([head, FOREVER]) as (_, pool):
        with pytest.raises(BrokenAnswer):
            await body_of(await asked(pool))


# ---------------------------------------------------------------- bodies


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async with serving([raw_head("content-type: text/plain"), b"he", 0.01, b"llo", CLOSE]) as (_, pool):
        assert await body_of(await asked(pool)) == b"hello"


@pytest.mark.parametrize("bits", [zlib.MAX_WBITS | 16, zlib.MAX_WBITS], ids=["gzip", "deflate"])
async def test_a_compressed_body_is_unpacked_as_it_comes(bits: int) -> None:
    packer = zlib.compressobj(wbits=bits)
    data = packer.compress(b"hello " * 1000) + packer.flush()
    name = "gzip" if bits > zlib.MAX_WBITS else "deflate"
    head = raw_head(f"content-encoding: {name}", "transfer-encoding: chunked")
    async with serving([head, chunk(data[:20]), 0.01, chunk(data[20:]), END]) as (_, pool):
        assert await body_of(await asked(pool)) == b"hello " * 1000


@pytest.mark.parametrize("bomb", [True, False], ids=["bomb", "cut"])
async def test_a_compressed_body_that_is_cut_or_a_bomb_is_broken(bomb: bool) -> None:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    data = packer.compress(bytes(MAX_UNPACKED + (1 << 20))) + packer.flush() if bomb else packer.flush()[:10]
    head = raw_head("content-encoding: gzip", f"content-length: {len(data)}")
    async with serving([head, data, FOREVER]) as (_, pool):
        with pytest.raises(BrokenAnswer):
            await body_of(await asked(pool))


async def test_a_reader_that_is_slow_holds_the_model_back() -> None:
    piece = chunk(b"x" * (1 << 16))
    async with serving([CHUNKED, *[piece] * 400, END]) as (raw, pool):
        connection = await asked(pool)
        await asyncio.sleep(0.2)
        assert raw.writers, "the model is still sending: what the kernel and the gateway hold is not all of it"
        held = await connection.read()
        assert HIGH <= len(held) < 4 * HIGH
        assert len(held) + len(await body_of(connection)) == 400 << 16


# ---------------------------------------------------------------- pieces at once


async def test_a_pump_hands_pieces_over_as_they_arrive_and_the_rest_is_read() -> None:
    taken: list[bytes] = []

    def take(data: bytes) -> bool:
        taken.append(data)
        return len(taken) < 2

    script: list[Piece] = [CHUNKED]
    for letter in (b"a", b"b", b"c", b"d"):
        script += [0.02, chunk(letter)]
    async with serving([*script, END]) as (_, pool):
        connection = await asked(pool)
        await connection.pump(take)
        assert taken == [b"a", b"b"]
        assert await body_of(connection) == b"cd"


async def test_a_pump_returns_at_the_end_of_the_body() -> None:
    async with serving([CHUNKED, 0.02, chunk(b"a"), 0.02, END]) as (_, pool):
        connection = await asked(pool)
        await connection.pump(lambda data: True)
        assert connection.complete


@pytest.mark.parametrize("end", [CLOSE, FOREVER], ids=["cut", "stalled"])
async def test_a_pump_ends_with_an_error_where_the_body_does(end: Piece) -> None:
    async with serving([CHUNKED, 0.02, chunk(b"a"), end]) as (_, pool):
        connection = await asked(pool, idle=0.1)
        with pytest.raises(BrokenAnswer if end == CLOSE else TimeoutError):
            await connection.pump(lambda data: True)


async def test_a_pump_does_not_time_out_while_pieces_come() -> None:
    pieces: list[Piece] = [x for _ in range(8) for x in (0.05, chunk(b"a"))]
    async with serving([CHUNKED, *pieces, END]) as (_, pool):
        await (await asked(pool, idle=0.2)).pump(lambda data: True)


async def test_the_head_has_one_limit_of_time_whatever_drips_before_it() -> None:
    drips: list[Piece] = [x for _ in range(20) for x in (b"HTTP/1.1 102 Processing\r\n\r\n", 0.05)]
    async with serving([*drips, OK]) as (_, pool):
        with pytest.raises(TimeoutError):
            await asked(pool, seconds=0.2)


async def test_bytes_that_are_no_body_do_not_count_as_progress() -> None:
    drips: list[Piece] = [x for _ in range(20) for x in (b"0", 0.05)]
    async with serving([CHUNKED, *drips, b"1\r\na\r\n", END]) as (_, pool):
        with pytest.raises(TimeoutError):
            await body_of(await asked(pool, idle=0.2))


async def test_trailers_are_bounded_and_no_headers() -> None:
    async with serving([CHUNKED, 0.01, chunk(b"a"), b"0\r\nretry-after: 77\r\n\r\n"]) as (_, pool):
        connection = await asked(pool)
        assert await body_of(connection) == b"a"
        assert "retry-after" not in connection.headers
    many = b"x: y\r\n" * 10_000
    async with serving([CHUNKED, 0.01, chunk(b"a"), b"0\r\n", *[many] * 40, FOREVER]) as (_, pool):
        with pytest.raises(BrokenAnswer):
            await body_of(await asked(pool))


async def test_a_compressed_body_that_ends_with_the_connection_and_is_cut_is_broken_at_once() -> None:
    data = zlib.compress(b"hello " * 1000, wbits=zlib.MAX_WBITS | 16)
    async with serving([raw_head("content-encoding: gzip"), data[:20], CLOSE]) as (_, pool), asyncio.timeout(1):
        with pytest.raises(BrokenAnswer):
            await body_of(await asked(pool))


async def test_a_pump_hands_over_what_came_with_the_fault() -> None:
    taken: list[bytes] = []

    def take(data: bytes) -> bool:
        taken.append(data)
        return True

    async with serving([CHUNKED, 0.05, chunk(b"hello") + b"zz\r\nno chunk\r\n", FOREVER]) as (_, pool):
        connection = await asked(pool)
        with pytest.raises(BrokenAnswer):
            await connection.pump(take)
    assert taken == [b"hello"]


async def test_nothing_ticks_on_for_a_connection_that_is_gone() -> None:
    async with serving([raw_head("content-type: text/plain"), b"a", 0.05, CLOSE]) as (_, pool):
        connection = await asked(pool, idle=0.1)
        assert await connection.read() == b"a"
        connection.release()
        await asyncio.sleep(0.3)
        assert connection.lost
        assert connection.ticking is False


# ---------------------------------------------------------------- reuse


async def test_the_connection_used_last_is_taken_first() -> None:
    async with serving([OK]) as (raw, pool):
        one, two = await asked(pool), await asked(pool)
        for connection in (two, one):
            await body_of(connection)
            connection.release()
        assert pool.take() is one
        assert raw.connections == 2


@pytest.mark.parametrize(
    "script",
    [
        [raw_head("content-length: 2", "connection: close") + b"{}"],
        [OK + b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nforged"],
        [OK, 0.02, b"unasked"],
        [b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}"],
    ],
    ids=["close", "a second answer at once", "bytes that nobody asked for", "HTTP/1.0"],
)
async def test_a_connection_that_is_not_clean_is_not_used_again(script: list[Piece]) -> None:
    async with serving(script, [OK]) as (raw, pool):
        connection = await asked(pool)
        assert await body_of(connection) == b"{}"
        connection.release()
        await asyncio.sleep(0.1)
        assert not await reused(pool, raw)


@contextlib.asynccontextmanager
async def answering(*, listen: bool, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that says OK, to the request or at once."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            if listen:
                await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0.05)


async def test_an_answer_given_before_the_request_was_read_ends_the_connection() -> None:
    async with answering(listen=False) as port:
        pool = Pool(urlsplit(f"http://127.0.0.1:{port}"))
        connection = await pool.connect(1)
        head = b"POST /v1 HTTP/1.1\r\nhost: h\r\ncontent-length: 30000000\r\n\r\n"
        await connection.ask(head, bytes(30_000_000), 2, 2)
        assert await body_of(connection) == b"{}"
        connection.release()
        assert pool.take() is None


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://h:8000/v1", b"/v1/chat", "h:8000"),
        ("http://user:word@h/a b/ü", b"/a%20b/%C3%BC/chat", "h"),
        ("http://[::1]:1/v1%2Fx", b"/v1%2Fx/chat", "[::1]:1"),
        ("https://h?tenant=1", b"/chat?tenant=1", "h"),
    ],
)
def test_a_base_url_gives_target_and_host(url: str, line: bytes, host: str) -> None:
    assert (target(urlsplit(url), "/chat"), authority(urlsplit(url))) == (line, host)


async def test_tls_is_spoken_and_the_certificate_is_checked() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    async with answering(listen=True, tls=context) as port:
        url = urlsplit(f"https://localhost:{port}")
        with pytest.raises(ssl.SSLCertVerificationError):
            await Pool(url).connect(2)
        trusting = Pool(url, tls=lambda: trusted)
        connection = await trusting.connect(2)
        await connection.ask(REQUEST, b"", 2, 2)
        assert await body_of(connection) == b"{}"
        trusting.close()
