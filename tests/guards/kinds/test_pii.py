from __future__ import annotations

import pytest

from guards.kinds import pii
from guards.shape import Shape
from tests.guards.kinds.shapes import ENGLISH, assert_bounded, candidates, found, gate_opens, gates

EVERY = pii.shapes(tuple(pii.ENTITIES))
ABROAD = tuple(shape for region in ("DE", "GB", "FR", "IT", "IN") for shape in pii.shapes(["phone"], region))

TRUE = [
    ("email", "Write to john.doe+news@mail.example.co.uk.", "john.doe+news@mail.example.co.uk"),
    ("email", "<a_b@x-y.io>", "a_b@x-y.io"),
    ("email", "...jane@example.com, please", "...jane@example.com"),
    ("email", "mailto:info@xn--mller-kva.de", "info@xn--mller-kva.de"),
    ("email", "a@b.museum", "a@b.museum"),
    ("phone", "call +1 (212) 555-0123 now", "+1 (212) 555-0123"),
    ("phone", "+14155552671", "+14155552671"),
    ("phone", "+44 20 7946 0958 2 rooms", "+44 20 7946 0958"),
    ("phone", "+44 (0)20 7946 0958", "+44 (0)20 7946 0958"),
    ("phone", "+49 30 901820", "+49 30 901820"),
    ("phone", "+33 1 42 68 53 00.", "+33 1 42 68 53 00"),
    ("phone", "+39 02 1234 5678", "+39 02 1234 5678"),
    ("phone", "tel:212-555-0123", "212-555-0123"),
    ("phone", "(415) 555-2671", "(415) 555-2671"),
    ("phone", "415.555.2671 or", "415.555.2671"),
    ("phone", "1-800-555-0199", "1-800-555-0199"),
    ("card", "4111 1111 1111 1111 12/26", "4111 1111 1111 1111"),
    ("card", "card 5500-0000-0000-0004.", "5500-0000-0000-0004"),
    ("card", "12 4111111111111111", "4111111111111111"),
    ("card", "378282246310005", "378282246310005"),
    ("card", "3782 822463 10005", "3782 822463 10005"),
    ("card", "30569309025904", "30569309025904"),
    ("card", "6011111111111117", "6011111111111117"),
    ("card", "3530111333300000", "3530111333300000"),
    ("card", "2223003122003222", "2223003122003222"),
    ("card", "4222222222222", "4222222222222"),
    ("card", "6304 0000 0000 0000", "6304 0000 0000 0000"),
    ("iban", "DE89 3704 0044 0532 0130 00 BIC COBADEFF", "DE89 3704 0044 0532 0130 00"),
    ("iban", "ES9121000418450200051332", "ES9121000418450200051332"),
    ("iban", "AT61 1904 3002 3457 3201 THE END", "AT61 1904 3002 3457 3201"),
    ("iban", "GB82WEST12345698765432,", "GB82WEST12345698765432"),
    ("iban", "NO93 8601 1117 947", "NO93 8601 1117 947"),
    ("ssn", "SSN: 123-45-6789", "123-45-6789"),
    ("ssn", "078 05 1120", "078 05 1120"),
    ("ssn", "899-99-9999.", "899-99-9999"),
    ("ip", "from 192.168.1.17.", "192.168.1.17"),
    ("ip", "http://10.0.0.1:8080/", "10.0.0.1"),
    ("ip", "8.8.8.8/32", "8.8.8.8"),
    ("ip", "at 2001:db8::1.", "2001:db8::1"),
    ("ip", "[2001:0db8:85a3:0000:0000:8a2e:0370:7334]:443", "2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
    ("ip", "fe80::1ff:fe23:4567:890a", "fe80::1ff:fe23:4567:890a"),
    ("ip", "::ffff:192.0.2.128", "::ffff:192.0.2.128"),
    ("ip", "bound to ::1", "::1"),
    ("ip", "fe80::1", "fe80::1"),
    ("aadhaar", "2341 2341 2346", "2341 2341 2346"),
    ("ahv", "756.9217.0769.85", "756.9217.0769.85"),
    ("bitcoin", "to 1NEDqZPvTWRaoho48qXuLLsrYomMXPABfD", "1NEDqZPvTWRaoho48qXuLLsrYomMXPABfD"),
    ("bitcoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
    ("codice_fiscale", "CF RCCMNL83S18D969H", "RCCMNL83S18D969H"),
    ("cpf", "390.533.447-05", "390.533.447-05"),
    ("mac", "eth0 00:1B:44:11:3a:B7", "00:1B:44:11:3a:B7"),
    ("nhs_number", "943 476 5919", "943 476 5919"),
    ("nif", "54362315K", "54362315K"),
    ("nif", "X-2482300W".replace("-", ""), "X2482300W"),
    ("nir", "2 95 10 99 126 111 93", "2 95 10 99 126 111 93"),
    ("pesel", "44051401359", "44051401359"),
    ("ric", "360426199101010071", "360426199101010071"),
    ("vin", "VIN 1M8GDM9AXKP042788", "1M8GDM9AXKP042788"),
]

FALSE = [
    ("email", "@decorator def f(): pass; user@host and a@b.c, x @ y.com"),
    ("email", "git@github.com:org/repo.git icon@2x.png lodash@4.17.21"),
    ("phone", "order 2125550123, +12, +1 555 123 4567 and (555) 123-4567"),
    ("phone", "2024-01-05 12:30:45, 978-3-16-148410-0, ABC-212-555-0123, 123-456-7890"),
    ("phone", "c++ 17 and +100 500 200, 1 + 2 + 3, 10.0.0.1"),
    ("phone", "1 2 3 4 5 6 7 8 9 10 11 12"),
    ("card", "4111 1111 1111 1112, 1234567890123456, 0000 0000 0000 0000, 4444444444444444"),
    ("card", "ms 1712345678901, ns 1712345678901234567, ISBN 9783161484100, IMEI 490154203237518"),
    ("card", "0.4111111111111111, id_4111111111111111, a4111111111111111, 41111111111111111111"),
    ("card", "550e8400-e29b-41d4-a716-446655440000"),
    ("iban", "DE88 3704 0044 0532 0130 00, DE89, XX89370400440532013000, ADE89370400440532013000"),
    ("iban", "THIS IS A TEXT IN CAPITALS, ORDER NO12 3456"),
    ("ssn", "000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000"),
    ("ssn", "123456789, 123-45-67890, 123-45 6789, 2024-01-0512, 1123-45-6789"),
    ("ip", "version 1.2.3, v1.2.3.4, 1.2.3.4.5, 300.1.2.3, 1.2.3.04, Chrome/120.0.0.0"),
    ("ip", "std::vector<int> ::add(x), ad::be, dead::beef, Foo::Bar::cafe, a::b::c"),
    ("ip", "12:30:45, 12:30:45:678, xs[1::2], xs[::2], [10::5], 00:1B:44:11:3a:B7, used::face"),
    ("ip", "00:11:22:33:44:55:66:77 ab:cd:ef:01:23:45:67:89:ab:cd:ef:01:23:45:67:89"),
    ("ip", "3.14, 2024.01.05, 1.000.000, 10.000.000.000,00"),
    ("aadhaar", "2341 2341 2347, 1234 1234 1234, 234123412346"),
    ("ahv", "756.9217.0769.84"),
    ("bitcoin", "1NEDqZPvTWRaoho48qXuLLsrYomMXPABfE, d41d8cd98f00b204e9800998ecf8427e"),
    ("codice_fiscale", "RCCMNL83S18D969I, ABCDEF12A34B567C"),
    ("cpf", "390.533.447-06, 39053344705"),
    ("mac", "00:1B:44:11:3a, 2001:db8:0:0:0:0:0:1, 00:11:22:33:44:55:66:77, 12:30:45"),
    ("nhs_number", "943 476 5918, 9434765919"),
    ("nif", "54362315Z, 1234567"),
    ("nir", "2 95 10 99 126 111 92"),
    ("pesel", "44051401358, 12345678901"),
    ("ric", "360426199101010072"),
    ("vin", "1M8GDM9AYKP042788, 11111111111111111, ABCDEFGHABCDEFGHJ"),
]

EVERYDAY = [
    "Order 4500123456 shipped 2024-01-05T12:30:45Z for $1,299.00 (was 1 499,00).",
    "commit da39a3ee5e6b4b0d3255bfef95601890afd80709, md5 d41d8cd98f00b204e9800998ecf8427e",
    "550e8400-e29b-41d4-a716-446655440000 and 1712345678.123456",
    "python 3.11.4, node v20.10.0, numpy==1.26.4, image:1.2.3-rc.1, build 10.0.19045",
    "for (std::size_t i = 0; i < 10; ++i) { a::b::c(i); } // 0xdeadbeef",
    "ISBN 978-3-16-148410-0, ISSN 2049-3630, DOI 10.1000/182, RFC 2119",
    "1, 2, 3, 5, 8, 13; 10:00-11:30; 4 x 4; 50%; 1/2/2024; 3.141592653589793; -12.5e-3",
    "lat 52.520008, lon 13.404954; row 12 345 678; phone extension 1234",
    ENGLISH,
]


@pytest.mark.parametrize(("entity", "text", "hidden"), TRUE)
def test_an_entity_is_found_as_it_is_written(entity: str, text: str, hidden: str) -> None:
    assert (entity, hidden) in found([s for s in EVERY if s.entity == entity], text)


@pytest.mark.parametrize(("entity", "text"), FALSE)
def test_what_only_resembles_an_entity_is_left_alone(entity: str, text: str) -> None:
    assert found([s for s in EVERY if s.entity == entity], text) == []


@pytest.mark.parametrize("text", EVERYDAY)
def test_everyday_texts_hold_no_personal_data(text: str) -> None:
    assert found(pii.shapes(pii.DEFAULT), text) == []


@pytest.mark.parametrize(
    ("region", "text", "hidden"),
    [
        ("DE", "Tel. 030 901820, Mo-Fr", "030 901820"),
        ("DE", "mobil 0151/23456789", "0151/23456789"),
        ("GB", "ring 020 7946 0958.", "020 7946 0958"),
        ("FR", "au 01 42 68 53 00", "01 42 68 53 00"),
        ("IT", "chiama 02 1234 5678", "02 1234 5678"),
        ("IN", "98765 43210", "98765 43210"),
        ("CA", "416-555-0123", "416-555-0123"),
    ],
)
def test_a_region_reads_its_own_numbers(region: str, text: str, hidden: str) -> None:
    assert ("phone", hidden) in found(pii.shapes(["phone"], region), text)


@pytest.mark.parametrize("region", ["DE", "GB", "FR", "IT"])
@pytest.mark.parametrize(
    "text", ["05.01.2024", "2024-01-05", "030901820", "10.20.30.40", "1 2 3 4 5 6 7 8", "3.14159265"]
)
def test_dates_and_bare_digits_are_no_numbers_of_a_region(region: str, text: str) -> None:
    assert found(pii.shapes(["phone"], region), text) == []


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown entity fax; known: aadhaar, ahv"):
        pii.shapes(["email", "fax"])
    with pytest.raises(ValueError, match="unknown region 'XX'"):
        pii.shapes(["phone"], "XX")


def test_shapes_are_those_asked_for() -> None:
    assert {s.entity for s in pii.shapes(["ip", "email", "ip"])} == {"ip", "email"}
    assert {s.entity for s in EVERY} == set(pii.ENTITIES)
    assert set(pii.DEFAULT) <= set(pii.ENTITIES)
    assert {row[0] for row in TRUE} == {row[0] for row in FALSE} == set(pii.ENTITIES)


@pytest.mark.parametrize("shape", [*EVERY, *ABROAD], ids=lambda s: s.entity)
def test_a_stream_can_hold_to_every_shape(shape: Shape) -> None:
    assert_bounded(shape)


@pytest.mark.parametrize("shape", [*EVERY, *ABROAD], ids=lambda s: s.entity)
def test_the_gate_opens_for_all_that_the_pattern_matches(shape: Shape) -> None:
    texts = [row[1] for row in (*TRUE, *FALSE)]
    for text in (t for row in texts for t in candidates(shape, row)):
        assert gate_opens(shape, text), text


def test_english_opens_no_gate() -> None:
    assert not gates(EVERY).Match(ENGLISH)
