"""Kind `pii`: personal data that can be told by its form and proven by a checksum, a parser or a numbering plan."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from stdnum import bitcoin, iban, luhn
from stdnum.br import cpf
from stdnum.ch import ssn as ahv
from stdnum.cn import ric
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.in_ import aadhaar
from stdnum.it import codicefiscale
from stdnum.pl import pesel

from guards.kinds import pii_phone
from guards.shape import Shape

ENTITIES: Mapping[str, str] = {
    "email": "e-mail address",
    "phone": "telephone number, with + or with the separators of the default region",
    "card": "payment card number (issuer prefix and Luhn)",
    "iban": "bank account number (IBAN)",
    "ssn": "US social security number",
    "ip": "IPv4 or IPv6 address",
    "aadhaar": "Indian Aadhaar number",
    "ahv": "Swiss AHV number",
    "bitcoin": "Bitcoin address",
    "codice_fiscale": "Italian tax code of a person",
    "cpf": "Brazilian CPF, formatted",
    "mac": "MAC address",
    "nhs_number": "British NHS number, grouped 3-3-4",
    "nif": "Spanish DNI or NIE",
    "nir": "French social security number",
    "pesel": "Polish PESEL",
    "ric": "Chinese resident identity card",
    "vin": "vehicle identification number",
}
"""Every name that `shapes` knows, and what it stands for."""

DEFAULT = ("email", "phone", "card", "iban", "ssn", "ip")

CARD_PREFIXES: Mapping[int, tuple[str, str]] = {
    13: ("4", "4"),
    14: ("3", "3(?:0[0-5]|[689])"),
    15: ("3", "3[47]"),
    16: (
        "[234568]",
        "(?:4|5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|6(?:011|22|4[4-9]|5)|35(?:2[89]|[3-8])|62|220[0-4]|81|82|508"
        "|5018|5020|5038|5893|6304|6759|676[123])",
    ),
    17: ("[56]", "(?:62|5018|5020|5038|5893|6304|6759|676[123])"),
    18: ("[56]", "(?:62|5018|5020|5038|5893|6304|6759|676[123])"),
    19: ("[3-6]", "(?:4|62|6011|64[4-9]|65|35(?:2[89]|[3-8])|5018|5020|5038|5893|6304|6759|676[123])"),
}
"""Digits -> the first of them, and the prefixes of the issuers that give out cards of that length."""

IBAN_LENGTHS: Mapping[int, str] = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}

NO_MAILBOX = re.compile(r"git@|[^@]*@[1-4]x\.")
ROUTED = re.compile(r"(?=[A-Fa-f]*[0-9])[23Ff][0-9A-Fa-f]{3}:")
"""How an address begins that is global, unique local or link local."""
GROUPS = re.compile(r"(?=.*[0-9])(?=.*[0-9A-Fa-f.]{3})(?:[0-9A-Fa-f.]+::?|::){2,7}[0-9A-Fa-f.]*")
"""Enough of a compressed address to be no slice and no scope: three groups, a long one, a digit."""

LEFT = r"(?<![A-Za-z0-9_])"
RIGHT = r"(?![A-Za-z0-9_])"


def shapes(entities: Sequence[str], region: str = "US") -> list[Shape]:
    """The shapes of `entities`; one entity may have several. `region` (ISO 3166) reads phone numbers without a `+`."""
    unknown = sorted(set(entities) - ENTITIES.keys())
    if unknown:
        raise ValueError(f"unknown entity {', '.join(unknown)}; known: {', '.join(sorted(ENTITIES))}")
    makers: dict[str, Callable[[], list[Shape]]] = {
        "phone": partial(pii_phone.shapes, region.upper()),
        "card": _cards,
        "iban": _ibans,
        "ip": _addresses,
    }
    found: list[Shape] = []
    for name in dict.fromkeys(entities):
        found += makers[name]() if name in makers else [s for s in _singles() if s.entity == name]
    return found


def _singles() -> tuple[Shape, ...]:
    """The entities that one expression covers."""
    tax = rf"{LEFT}[A-Z]{{6}}[0-9LMNP-V]{{2}}[ABCDEHLMPRST][0-9LMNP-V]{{2}}[A-Z][0-9LMNP-V]{{3}}[A-Z]{RIGHT}"
    french = r"[12][ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?[0-9][0-9AB][ ]?[0-9]{3}[ ]?[0-9]{3}[ ]?[0-9]{2}"
    resident = r"[1-9][0-9]{5}(?:19|20)[0-9]{2}[01][0-9][0-3][0-9]{4}[0-9X]"
    return (
        Shape(
            "email",
            r"(?<![A-Za-z0-9._%+\-])[A-Za-z0-9._%+\-]{1,64}@(?:[A-Za-z0-9\-]{1,63}\.){1,5}"
            r"(?:xn--[A-Za-z0-9\-]{2,24}|[A-Za-z]{2,24})",
            r"@[A-Za-z0-9\-]+\.",
            _email,
        ),
        Shape(
            "ssn",
            rf"{LEFT}[0-8][0-9]{{2}}(?:-[0-9]{{2}}-|[ ][0-9]{{2}}[ ])[0-9]{{4}}{RIGHT}",
            r"[0-9]{3}[ \-][0-9]{2}[ \-][0-9]{4}",
            _ssn,
        ),
        Shape(
            "aadhaar",
            rf"{LEFT}[2-9][0-9]{{3}}[ \-][0-9]{{4}}[ \-][0-9]{{4}}{RIGHT}",
            _grouped(4, 4, 4),
            aadhaar.is_valid,
        ),
        Shape(
            "ahv",
            rf"{LEFT}756\.[0-9]{{4}}\.[0-9]{{4}}\.[0-9]{{2}}{RIGHT}",
            r"756\.[0-9]{4}\.[0-9]{4}\.[0-9]{2}",
            ahv.is_valid,
        ),
        Shape(
            "bitcoin",
            rf"{LEFT}(?:[13][A-HJ-NP-Za-km-z1-9]{{25,34}}|bc1[02-9ac-hj-np-z]{{11,71}}){RIGHT}",
            r"[13][A-HJ-NP-Za-km-z1-9]{25}|bc1[02-9ac-hj-np-z]{11}",
            bitcoin.is_valid,
        ),
        Shape("codice_fiscale", tax, r"[A-Z]{6}[0-9LMNP-V]{2}[ABCDEHLMPRST]", codicefiscale.is_valid),
        Shape(
            "cpf",
            rf"{LEFT}[0-9]{{3}}\.[0-9]{{3}}\.[0-9]{{3}}-[0-9]{{2}}{RIGHT}",
            r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}",
            cpf.is_valid,
        ),
        Shape(
            "mac",
            r"(?<![A-Za-z0-9_:\-])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![A-Za-z0-9_:\-])",
            r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}",
        ),
        Shape("nhs_number", rf"{LEFT}[0-9]{{3}}[ \-][0-9]{{3}}[ \-][0-9]{{4}}{RIGHT}", _grouped(3, 3, 4), nhs.is_valid),
        Shape("nif", rf"{LEFT}[0-9XYZ][0-9]{{7}}[ \-]?[A-Z]{RIGHT}", r"[0-9]{7}[ \-]?[A-Z]", _spanish),
        Shape("nir", rf"{LEFT}{french}{RIGHT}", french, nir.is_valid),
        Shape("pesel", rf"{LEFT}[0-9]{{11}}{RIGHT}", r"[0-9]{11}", pesel.is_valid),
        Shape("ric", rf"{LEFT}{resident}{RIGHT}", resident, ric.is_valid),
        Shape("vin", rf"{LEFT}[A-HJ-NPR-Z0-9]{{17}}{RIGHT}", r"[A-HJ-NPR-Z0-9]{17}", _vin),
    )


def _email(text: str) -> bool:
    """Not a picture for dense screens (`icon@2x.png`), nor the address in front of a repository's path."""
    return NO_MAILBOX.match(text) is None


def _grouped(*sizes: int) -> str:
    return r"[ \-]".join(f"[0-9]{{{n}}}" for n in sizes)


def _cards() -> list[Shape]:
    """One shape a length: a longer reading that fails the checksum must not hide the card before an expiry date."""
    found = []
    for size, (first, prefix) in CARD_PREFIXES.items():
        digits = rf"{first}(?:[ \-]?[0-9]){{{size - 1}}}"
        found.append(Shape("card", rf"(?<![A-Za-z0-9_.]){digits}(?![0-9])", digits, partial(_card, re.compile(prefix))))
    return found


def _card(prefix: re.Pattern[str], text: str) -> bool:
    number = text.replace(" ", "").replace("-", "")
    return prefix.match(number) is not None and len(set(number)) > 1 and luhn.checksum(number) == 0


def _ibans() -> list[Shape]:
    """Lengths are fixed by country, so that a word behind the number is not read into it."""
    arms = []
    for size, countries in IBAN_LENGTHS.items():
        groups, rest = divmod(size - 4, 4)
        tail = rf"[ ]?[A-Z0-9]{{{rest}}}" if rest else ""
        arms.append(rf"(?:{'|'.join(countries.split())})[0-9]{{2}}(?:[ ]?[A-Z0-9]{{4}}){{{groups}}}{tail}")
    pattern = rf"{LEFT}(?:{'|'.join(arms)}){RIGHT}"
    return [Shape("iban", pattern, r"[A-Z]{2}[0-9]{2}[ ]?[A-Z0-9]{4}[ ]?[A-Z0-9]{4}", _iban)]


def _iban(text: str) -> bool:
    return iban.is_valid(text, check_country=False)


def _ssn(text: str) -> bool:
    area, group, serial = re.split("[ -]", text)
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def _addresses() -> list[Shape]:
    octet = "[0-9]{1,3}"
    four = rf"{octet}(?:\.{octet}){{3}}"
    return [
        # Further octets are drawn in, so that a version of five parts is one candidate, and fails.
        Shape("ip", rf"(?<![A-Za-z0-9_.]){four}(?:\.{octet}){{0,4}}{RIGHT}", r"(?:[0-9]{1,3}\.){3}[0-9]", _ipv4),
        Shape(
            "ip",
            rf"(?<![A-Za-z0-9_:.])(?:[0-9A-Fa-f]{{0,4}}:){{2,7}}(?:{four}|[0-9A-Fa-f]{{1,4}})?(?![A-Za-z0-9_:])",
            r"[0-9A-Fa-f]:[0-9A-Fa-f:]*:|::[0-9A-Fa-f]",
            _ipv6,
        ),
    ]


def _ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    # Browsers write their version as 120.0.0.0; no host has such an address.
    return not text.endswith(".0.0.0") or text.startswith(("0.", "10.", "127."))


def _ipv6(text: str) -> bool:
    """Also tells addresses from slices `[1::2]`, scopes `ad::be` and EUI-64 `00:11:22:33:44:55:66:77`."""
    bare = text[:-1] if text.endswith(":") and not text.endswith("::") else text
    if len(bare) < len("fe80::") and bare != "::1":
        return False
    try:
        ipaddress.IPv6Address(bare)
    except ValueError:
        return False
    groups = [g for g in bare.split(":") if g]
    if "::" not in bare:
        return len({*map(len, groups)}) > 1 or len(groups[0]) == len("2001")
    if bare == "::1" or bare.lower().startswith("::ffff:"):
        return True
    return ROUTED.match(bare) is not None or GROUPS.fullmatch(bare) is not None


def _spanish(text: str) -> bool:
    return nie.is_valid(text) if text[0] in "XYZ" else dni.is_valid(text)


def _vin(text: str) -> bool:
    """ISO 3779 with the North American check digit in the ninth place."""
    values = dict(
        zip("ABCDEFGHJKLMNPRSTUVWXYZ0123456789", map(int, "12345678123457923456789" + "0123456789"), strict=True)
    )
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    total = sum(values[c] * w for c, w in zip(text, weights, strict=True)) % 11
    return text[8] == "0123456789X"[total] and not text.isdigit() and not text.isalpha()
