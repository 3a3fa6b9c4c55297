"""Telephone numbers, for the kind `pii`: what the form lets through, the numbering plans prove."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import phonenumbers

from guards.shape import Shape

DIAL_CODES: Mapping[int, str] = {
    8: "45|47|65|2(?:16|2[236-8]|3[02569]|4[178]|5[37]|6[6-9]|9[01789])|3(?:50|56|57|7[01234]|8[26]|89)"
    "|50[0-79]|59[12789]|6(?:7[0-9]|8[0-36-9]|9[0-2])|85[23]|9(?:6[0158]|7[345])",
    9: "27|3[2346]|4[0168]|51|56|61|66|9[34]|2(?:1[1238]|2[014]|3[1378]|4[024569]|5[0124568]|6[0-5])"
    "|3(?:5[1459]|7[5-7]|8[057])|42[013]|5(?:08|9[03-6])|8(?:55|86)|9(?:6[2367]|7[01]|9[2-8])",
    10: "1|7|20|30|44|5[2378]|6[0234]|8[124]|9[01258]|22[59]|2(?:34|43)|35[38]|378|685|8(?:50|56|80)|9(?:64|7[67])",
    11: "31|39|5[45]|86|352|381|383|972",
    13: "43|49",
}
"""Longest national number -> country codes; what follows a number, such as a date, is not drawn into the match."""

GAP = r"[ .\-/()]{0,3}"
GROUP = re.compile("[0-9]+")
DATE = re.compile(r"[0-9]{1,4}([./ \-])[0-9]{1,2}\1[0-9]{2,4}")
MAX_GROUPS = 7
RIGHT = r"(?![A-Za-z0-9_])"


def shapes(region: str) -> list[Shape]:
    """Numbers with a `+`, and numbers as people write them inside `region`."""
    code = phonenumbers.country_code_for_region(region)
    if not code:
        raise ValueError(f"unknown region {region!r}; use a two-letter country code, as US or GB")
    arms = "|".join(rf"(?:{codes})(?:[ ]?\(0\))?(?:{GAP}[0-9]){{6,{size}}}" for size, codes in DIAL_CODES.items())
    abroad = Shape("phone", rf"(?<![A-Za-z0-9_+])\+[ ]?(?:{arms})(?![0-9])", r"\+[ ]?[1-9]", partial(_phone, None))
    return [abroad, _north_american(region) if code == 1 else _national(region)]


def _north_american(region: str) -> Shape:
    number = r"\(?[2-9][0-9]{2}(?:\)[ ]?|[ .\-/]|[ ]-[ ])[2-9][0-9]{2}(?:[ .\-]|[ ]-[ ])[0-9]{4}"
    pattern = rf"(?<![A-Za-z0-9_+\-])(?:1[ .\-])?{number}{RIGHT}"
    return Shape("phone", pattern, r"[2-9][0-9]{2}[) .\-/]+[2-9][0-9]{2}[ .\-]+[0-9]{4}", partial(_phone, region))


def _national(region: str) -> Shape:
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    sizes = metadata.general_desc.possible_length if metadata and metadata.general_desc else ()
    most = min(max(sizes, default=12), 12) + len(metadata.national_prefix or "" if metadata else "")
    pattern = rf"(?<![A-Za-z0-9_+\-./])\(?[0-9](?:{GAP}[0-9]){{6,{most - 1}}}{RIGHT}"
    return Shape("phone", pattern, r"[0-9](?:[ .\-/()]*[0-9]){6}", partial(_local, region))


def _phone(region: str | None, text: str) -> bool:
    if len(GROUP.findall(text)) > MAX_GROUPS:
        return False  # a row of small numbers; asked first, for the parser is slow
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, region))
    except phonenumbers.NumberParseException:
        return False


def _local(region: str, text: str) -> bool:
    """The matcher's leniency also asks for the trunk prefix and refuses dates and other punctuation."""
    if text.isdigit() or DATE.fullmatch(text) or not _phone(region, text):
        return False
    found = list(phonenumbers.PhoneNumberMatcher(text, region, leniency=phonenumbers.Leniency.VALID))
    return bool(found) and found[0].start <= 1 and found[0].end == len(text)
