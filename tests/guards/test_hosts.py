"""Lists of hosts: what a URL leads to, however it is written."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guards.hosts import HostError, HostList, is_inner, site_of

LIST = HostList.of(
    ["example.org", "*.example.com", "api.example.net:8443", "any.example.net:*", "[::1]", "127.0.0.1", "faß.de"]
)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org",
        "http://EXAMPLE.org./a?b=c@d#e",
        "HTTPS://example.org:443/",
        "http://example.org:443/",
        "https://ｅxample。org/",
        "https://a.b.example.com/",
        "https://api.example.net:8443/",
        "https://any.example.net:1/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "https://xn--fa-hia.de/",
        "https://FAẞ.de/",
        "https://example.org?@evil.test",
        "https://example.org#@evil.test",
        "https://example.org\\@evil.test",
    ],
)
def test_what_leads_to_a_listed_host_is_allowed(url: str) -> None:
    assert LIST.allows(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "https://example.org@evil.test/",
        "https://user:pass@example.org/",
        "https://evil.test\\@example.org/",
        "https://evil.test#example.org",
        "https://evilexample.org/",
        "https://example.org.evil.test/",
        "https://example.com/",
        "https://evilexample.com/",
        "https://example.org:444/",
        "https://example.org:/",
        "https://example.org:99999/",
        "https://example.org:4 43/",
        "https://api.example.net/",
        "https:example.org",
        "https:/example.org",
        "https:///example.org",
        "https:\\\\example.org",
        "//example.org/",
        "ftp://example.org/",
        "javascript://example.org/%0aalert(1)",
        " https://example.org/",
        "https://example.org\t.evil.test/",
        "https://ex\nample.org/",
        "https://example.org\x00.evil.test/",
        "https://example.org%2eevil.test/",
        "https://example%2eorg/",
        "https://exam\u00adple.org/",
        "https://exam\u200bple.org/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.0.01/",
        "http://[::1%25eth0]/",
        "http://[::1]evil.test/",
        "http://[fe80::1]/",
        "https://example.org" + "/a" * 5000,
    ],
)
def test_what_leads_elsewhere_or_could_is_not(url: str) -> None:
    assert not LIST.allows(url)


def test_a_bare_host_counts_where_it_may() -> None:
    assert HostList.of(["example.org"]).allows("example.org", bare=True)
    assert HostList.of(["example.org:22"]).allows("example.org:22", bare=True)
    assert not HostList.of(["example.org"]).allows("example.org:22", bare=True)
    assert not HostList.of(["example.org"]).allows("example.org/path", bare=True)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1"),
        *("[::1]", "[::]", "[fd00::1]", "[fe80::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "[2002:a00:1::]"),
        *("localhost", "a.localhost", "redis", "printer.local", "metadata.google.internal", "localhost."),
    ],
)
def test_a_star_leaves_out_ones_own_network(host: str) -> None:
    assert not HostList.of(["*", "*:*"]).allows(f"http://{host}/")
    assert HostList.of([host]).allows(f"http://{host}/")


def test_a_star_covers_the_open_internet() -> None:
    for host in ("example.org", "8.8.8.8", "[2606:4700::1111]"):
        assert HostList.of(["*"]).allows(f"https://{host}/")


@pytest.mark.parametrize(
    "entry", ["", "https://example.org", "example.org/a", "a b", "u@example.org", "*.", "a:b", "[::1"]
)
def test_what_is_no_host_cannot_be_listed(entry: str) -> None:
    with pytest.raises(HostError):
        HostList.of([entry])


def test_an_empty_list_allows_nothing() -> None:
    assert not HostList().allows("https://example.org/")


AWKWARD = st.text(alphabet=st.sampled_from("exampl.org@:/\\?#[]%0127x\t\n\u3002\uff0e\u200b-ß"), max_size=40)


@given(AWKWARD | st.text(max_size=40))
@example("example.org@evil.test")
@example("evil.test/example.org")
@example("example.org")
def test_whatever_is_allowed_leads_there_for_the_standard_parser_too(rest: str) -> None:
    for url in (f"https://{rest}", f"https://example.org{rest}", rest):
        site = site_of(url)
        if site is not None and url.isascii():
            parts = urlsplit(url.replace("\\", "/"))
            host = (parts.hostname or "").rstrip(".")
            assert parts.username is None
            try:
                address = ipaddress.ip_address(host)
                host = str(getattr(address, "ipv4_mapped", None) or address)
            except ValueError:
                pass
            assert host == site.host
            assert (parts.port or {"http": 80, "https": 443}[parts.scheme]) == site.port


@given(st.ip_addresses())
def test_every_address_is_inner_or_on_the_open_internet(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if not address.is_global:
        assert is_inner(str(address))
