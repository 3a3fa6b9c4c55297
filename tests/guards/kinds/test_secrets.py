from __future__ import annotations

import base64
import json

import pytest

from guards.kinds import secrets
from guards.shape import Shape
from tests.guards.kinds.shapes import ENGLISH, assert_bounded, candidates, found, gate_opens, gates

EVERY = secrets.shapes()

# Keys are put together here, so that scanners of repositories do not take them for real ones.
MIX = "aB3dE5fG7hJ9kL2mN4pQ6rS8tU1vW0xY"
HEX = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
LINES = "\n".join([(MIX * 2)[:64]] * 20)
BEGIN, END = "-----BEGIN ", "-----END "
PEM = f"{BEGIN}RSA PRIVATE KEY-----\n{LINES}\n{END}RSA PRIVATE KEY-----"
ENCRYPTED = (
    f"{BEGIN}RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,{HEX.upper()}\n\n{LINES}\n"
    f"{END}RSA PRIVATE KEY-----"
)
PGP = (
    f"{BEGIN}PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v1.4 (Linux)\n\n{LINES}\n=aB3d\n{END}PGP PRIVATE KEY BLOCK-----"
)
JSON_PEM = f"{BEGIN}PRIVATE KEY-----\\n{LINES}\\n{END}PRIVATE KEY-----\\n".replace("\n", "\\n")
YAML_PEM = f"{BEGIN}EC PRIVATE KEY-----\n    {LINES[:130]}\n    {END}EC PRIVATE KEY-----".replace("\n", "\n    ")
CUT = f"{BEGIN}OPENSSH PRIVATE KEY-----\n{LINES[:150]}"


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


JWT = ".".join([part({"alg": "HS256", "typ": "JWT"}), part({"sub": "1234567890", "name": "Jo"}), MIX + "_-aB3"])
JWE = ".".join([part({"alg": "RSA-OAEP", "enc": "A256GCM"}), MIX, MIX[:16], MIX * 2, MIX[:22]])
LONG_JWT = ".".join([part({"alg": "RS512", "kid": MIX}), (MIX * 60)[:1900], (MIX * 30)[:683]])

WHOLE = [
    ("private_key", PEM),
    ("private_key", ENCRYPTED),
    ("private_key", PGP),
    ("private_key", JSON_PEM.removesuffix("\\n")),
    ("private_key", YAML_PEM),
    ("jwt", JWT),
    ("jwt", LONG_JWT),
    ("aws_access_key", "AKIA" + "IOSFODNN7EXAMPLE"),
    ("aws_access_key", "ASIA" + MIX[:16].upper()),
    ("gcp_api_key", "AIza" + "Sy" + MIX + "-"),
    ("google_oauth_secret", "GOCSPX-" + MIX[:28]),
    ("google_oauth_secret", "ya29." + "a0" + MIX * 3),
    ("github_token", "ghp_" + "A1b2" * 9),
    ("github_token", "ghs_" + "A1b2" * 9),
    ("github_token", "github_pat_" + MIX[:22] + "_" + MIX),
    ("gitlab_token", "glpat-" + MIX[:20]),
    ("gitlab_token", "glrt-" + MIX[:20]),
    ("slack_token", "xoxb-" + "123456789012-" * 2 + MIX[:24]),
    ("slack_token", "xapp-" + "1-A0B1C2D3E4-" + MIX),
    ("slack_webhook", "hooks.slack.com/services/" + "T0A1B2C3D/B0A1B2C3D/" + MIX[:24]),
    ("discord_token", "M" + MIX[:23] + "." + MIX[:6] + "." + MIX[:27]),
    ("discord_webhook", "discord.com/api/webhooks/" + "123456789012345678/" + MIX * 2),
    ("telegram_token", "123456789:" + "AA" + MIX + "_"),
    ("telegram_token", "110201543:" + MIX + "-zy"),
    ("stripe_key", "sk_live_" + MIX[:24]),
    ("stripe_key", "rk_live_" + MIX[:24]),
    ("stripe_key", "whsec_" + MIX),
    ("square_token", "sq0atp-" + MIX[:22]),
    ("shopify_token", "shpat_" + HEX),
    ("openai_key", "sk-" + MIX + MIX[:16]),
    ("openai_key", "sk-proj-" + MIX + "_" + MIX + "-" + MIX),
    ("anthropic_key", "sk-ant-" + "api03-" + MIX * 2 + "-_AA"),
    ("huggingface_token", "hf_" + MIX + "aB"),
    ("model_api_key", "gsk_" + MIX + MIX[:20]),
    ("model_api_key", "sk-or-v1-" + HEX * 2),
    ("twilio_key", "SK" + HEX),
    ("twilio_key", "AC" + HEX),
    ("sendgrid_key", "SG." + MIX[:22] + "." + MIX + "aB3dE5fG7hJ"),
    ("mailgun_key", "key-" + HEX),
    ("npm_token", "npm_" + MIX + "aB3d"),
    ("pypi_token", "pypi-" + "AgEIcHlwaS5vcmc" + MIX * 3),
    ("registry_token", "dckr_pat_" + MIX[:27]),
    ("digitalocean_token", "dop_v1_" + HEX * 2),
    ("databricks_token", "dapi" + HEX),
    ("doppler_token", "dp.pt." + MIX + "aB3dE5fG7hJ"),
    ("vault_token", "hvs." + MIX * 3),
    ("grafana_token", "glsa_" + MIX + "_0a1b2c3d"),
    ("linear_key", "lin_api_" + MIX + "aB3dE5fG"),
    ("notion_token", "ntn_" + MIX + "aB3dE5fG7hJ"),
    ("notion_token", "secret_" + MIX + "aB3dE5fG7hJ"),
    ("atlassian_token", "ATATT3" + MIX * 5 + "=0A1B2C3D"),
    ("postman_key", "PMAK-" + HEX[:24] + "-" + HEX + "01"),
    ("figma_token", "figd_" + MIX + "-aB3dE5f"),
    ("age_key", "AGE-SECRET-KEY-1" + (MIX * 2)[:58].upper()),
]
"""The whole text is the secret."""

AWS = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"
PASSWORD = "Tr0ub4dor&3xK9q"

PARTS = [
    ("aws_secret_key", f"aws_secret_access_key = {AWS}", AWS),
    ("aws_secret_key", f'"SecretAccessKey": "{AWS}"', AWS),
    ("aws_secret_key", f"AWS_SECRET_KEY={AWS}", AWS),
    ("azure_storage_key", "AccountName=a;AccountKey=" + (MIX * 3)[:86] + "==;", (MIX * 3)[:86] + "=="),
    ("azure_storage_key", "SharedAccessKey=" + (MIX * 2)[:43] + "=", (MIX * 2)[:43] + "="),
    ("azure_sas", "https://a.blob.core.windows.net/c?sv=1&sig=" + MIX + "%2Baaa%3D&se=2", MIX + "%2Baaa%3D"),
    ("url_password", "postgres://admin:s3cr3t@db.example.com:5432/x", "s3cr3t"),
    ("url_password", "redis://:hunter2@localhost", "hunter2"),
    ("url_password", "mongodb+srv://me:p@ss:w0rd!@cluster0.net/test", "p@ss:w0rd!"),
    ("secret", f'password = "{PASSWORD}"', PASSWORD),
    ("secret", f"DB_PASSWORD={PASSWORD}", PASSWORD),
    ("secret", f"dbPassword: '{PASSWORD}'", PASSWORD),
    ("secret", f'{{"api_key": "{MIX}"}}', MIX),
    ("secret", f'{{\\"apiKey\\": \\"{MIX}\\"}}', MIX),
    ("secret", f"token => {HEX}", HEX),
    ("secret", f"os.environ['API-KEY'] = '{HEX[:16]}'", HEX[:16]),
    ("secret", f"Authorization: Bearer {MIX}", MIX),
    ("secret", f"SECRET_KEY_BASE: {HEX}{HEX}.", HEX + HEX + "."),
    ("secret", f"const clientSecret = `{MIX}`;", MIX),
    ("secret", f'pwd: str = "{PASSWORD}"', PASSWORD),
    ("secret", f"x-api-key:{MIX}", MIX),
    ("secret", "password: 550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440000"),
    ("secret", "license token=ABCD-1234-EFGH-5678", "ABCD-1234-EFGH-5678"),
]
"""Only a part of the text is."""

FALSE = [
    f"Paste all from {BEGIN}PRIVATE KEY----- to {END}PRIVATE KEY----- into the box",
    f"{BEGIN}PUBLIC KEY-----\n{LINES}\n{END}PUBLIC KEY-----",
    f"{BEGIN}CERTIFICATE-----\n{LINES}\n{END}CERTIFICATE-----",
    part({"typ": "JWT"}) + "." + part({"sub": "1"}) + "." + MIX,
    "eyJhbGciOi.short.x and eyJ" + MIX + "." + MIX + "." + MIX,
    "https://user:password@example.com http://u:${PASS}@h http://u:xxxx@h http://u:****@h",
    "http://localhost:8080/a@b https://example.com/x:y@z mailto:a@b.c 12:30:45@noon",
    "AKIA1234 xAKIAIOSFODNN7EXAMPLE AKIAIOSFODNN7EXAMPLEX",
    "sk-learn-contrib, disk-" + "a1" * 12 + ", sk-" + "x" * 30 + ", sk-toggleable__content",
    "key-" + HEX + "0 and XSK" + HEX + " and SK" + HEX + "a",
    "hf_hub_download, npm_config_cache, ghp_short, glpat-x, pypi-server",
    "the token was: lost, the secret: none, password: required",
    "token = get_token()",
    "token = generate_access_token_v2(user)",
    "password = os.environ['DB_PASSWORD_2024']",
    "password = getpass.getpass()",
    "api_key = settings.OPENAI_API_KEY2",
    "auth = currentUserPassword1",
    'token: "YOUR_API_KEY_HERE"',
    "API_KEY=your-api-key-1234567890",
    "api_key: ${API_KEY_2} secret=<my-secret-token-1> pwd=$DB_PASSWORD_1",
    "password: xxxxxxxxxxxx1 token=****************",
    'secret = "example-secret-9f8e7d6c5b4a"',
    "token_expires: 2024-01-05T12:30:45Z",
    "max_tokens=1234567890123 token_count: 1,234,567,890",
    "tokenizer: bert-base-uncased-v2, secretary: jane2doe3smith4x, author: q1w2e3r4t5y6u7",
    "password: aaaaaaaaaaa1 token: 111111111111a",
    "token_url = https://auth.example.com/oauth2/v2.0/token",
    "secret: /var/run/secrets/kubernetes.io/service/token",
    "if password == otherPassword12: return",
    "commit da39a3ee5e6b4b0d3255bfef95601890afd80709 md5 d41d8cd98f00b204e9800998ecf8427e",
    "550e8400-e29b-41d4-a716-446655440000 sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    "std::vector<int> v; 12:30:45; 1712345678:abc; order 4500123456; ISBN 978-3-16-148410-0",
    "Mozilla.example.organisation-with-a-long-name and Notes.2024.final",
    ENGLISH,
]


@pytest.mark.parametrize(("entity", "text"), WHOLE)
@pytest.mark.parametrize("frame", ["{}", "say '{}' now", "x={}\n", "({})"])
def test_a_secret_is_found_whole(entity: str, text: str, frame: str) -> None:
    rows = found([s for s in EVERY if s.entity == entity], frame.format(text))
    assert any(e == entity and hidden.strip().rstrip("'") == text for e, hidden in rows), rows


@pytest.mark.parametrize(("entity", "text", "hidden"), PARTS)
def test_only_the_secret_part_is_hidden(entity: str, text: str, hidden: str) -> None:
    assert (entity, hidden) in found([s for s in EVERY if s.entity == entity], text)


@pytest.mark.parametrize("text", FALSE)
def test_placeholders_code_and_everyday_texts_hold_no_secret(text: str) -> None:
    assert found(EVERY, text) == []


@pytest.mark.parametrize("end", ["", "-----EN", "…", "."])
def test_a_key_that_is_cut_short_is_hidden_as_far_as_it_goes(end: str) -> None:
    assert found(EVERY, CUT + end) == [("private_key", CUT)]


def test_an_encrypted_token_hides_its_header_and_key() -> None:
    assert [e for e, _ in found(EVERY, JWE)] == ["jwt"]


def test_shapes_are_those_asked_for() -> None:
    assert {s.entity for s in secrets.shapes(["jwt", "github_token"])} == {"jwt", "github_token"}
    assert {s.entity for s in EVERY} == set(secrets.ENTITIES)
    assert {row[0] for row in (*WHOLE, *PARTS)} == set(secrets.ENTITIES)
    with pytest.raises(ValueError, match="unknown entity pasword; known: age_key"):
        secrets.shapes(["pasword"])


@pytest.mark.parametrize("shape", EVERY, ids=lambda s: s.entity)
def test_a_stream_can_hold_to_every_shape(shape: Shape) -> None:
    assert_bounded(shape)


@pytest.mark.parametrize("shape", EVERY, ids=lambda s: s.entity)
def test_the_gate_opens_for_all_that_the_pattern_matches(shape: Shape) -> None:
    texts = [row[1] for row in (*WHOLE, *PARTS)] + FALSE
    for text in (t for row in texts for t in candidates(shape, row)):
        assert gate_opens(shape, text), text


def test_english_opens_no_gate() -> None:
    assert not gates(EVERY).Match(ENGLISH)
