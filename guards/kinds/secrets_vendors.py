"""Keys and tokens that carry their vendor's prefix, or stand behind their vendor's name."""

from __future__ import annotations

import re

from guards.shape import Shape

WORD = "A-Za-z0-9"
URL64 = r"A-Za-z0-9_\-"
HEX = "0-9a-f"

TOKENS: tuple[tuple[str, str, str, int, int], ...] = (
    ("aws_access_key", "(?:AKIA|ASIA|ABIA|ACCA)", "A-Z0-9", 16, 16),
    ("gcp_api_key", "AIza", URL64, 35, 35),
    ("google_oauth_secret", "GOCSPX-", URL64, 20, 40),
    ("google_oauth_secret", r"ya29\.", URL64, 30, 220),
    ("github_token", "gh[pousr]_", WORD, 36, 200),
    ("github_token", "github_pat_", "A-Za-z0-9_", 22, 120),
    ("gitlab_token", "gl(?:pat|ptt|dt|rt|cbt|soat|ft|imt|agent|oas|ffct)-", URL64, 20, 120),
    ("slack_token", "xox[abeoprs]-", r"A-Za-z0-9\-", 10, 150),
    ("slack_token", "xapp-", r"A-Za-z0-9\-", 20, 150),
    ("slack_webhook", r"hooks\.slack\.com/(?:services|workflows|triggers)/", "A-Za-z0-9+/", 30, 100),
    ("discord_token", rf"[MNO][{URL64}]{{23,27}}\.[{URL64}]{{6}}\.", URL64, 27, 45),
    ("discord_webhook", r"discord(?:app)?\.com/api/webhooks/[0-9]{17,20}/", URL64, 60, 80),
    ("stripe_key", "[sr]k_(?:live|test|prod)_", WORD, 16, 150),
    ("stripe_key", "whsec_", "A-Za-z0-9+/=", 24, 100),
    ("square_token", "sq0(?:atp|csp|idp)-", URL64, 22, 60),
    ("square_token", "EAAA[lE]", URL64, 55, 60),
    ("shopify_token", "shp(?:at|ca|pa|ss)_", "0-9A-Fa-f", 32, 32),
    ("openai_key", "sk-(?:proj|svcacct|admin|None|service)-", URL64, 20, 200),
    ("openai_key", "sk-", WORD, 20, 64),
    ("anthropic_key", "sk-ant-", URL64, 16, 140),
    ("huggingface_token", "(?:hf|api_org)_", WORD, 30, 48),
    ("model_api_key", "(?:gsk_|xai-|pplx-|r8_|nvapi-|sk-or-v1-|lsv2_(?:pt|sk)_)", URL64, 32, 100),
    ("twilio_key", "(?:SK|AC)", HEX, 32, 32),
    ("sendgrid_key", rf"SG\.[{URL64}]{{16,32}}\.", URL64, 30, 64),
    ("mailgun_key", "key-", HEX, 32, 32),
    ("npm_token", "npm_", WORD, 36, 40),
    ("pypi_token", "pypi-", URL64, 50, 220),
    ("registry_token", "(?:dckr_pat_|rubygems_)", URL64, 27, 64),
    ("registry_token", "cio", WORD, 32, 32),
    ("digitalocean_token", "do[oprs]_v1_", HEX, 64, 64),
    ("databricks_token", "dapi", HEX, 32, 32),
    ("doppler_token", r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_\-]{2,35}\.)?", WORD, 40, 44),
    ("vault_token", r"hv[sbr]\.", URL64, 24, 160),
    ("grafana_token", "gl(?:sa|c)_", "A-Za-z0-9+/=_", 32, 160),
    ("linear_key", "lin_(?:api|oauth)_", WORD, 32, 64),
    ("notion_token", "(?:ntn|secret)_", WORD, 40, 50),
    ("atlassian_token", "AT[AC]TT3", r"A-Za-z0-9_\-=", 50, 220),
    ("atlassian_token", "ATBB", WORD, 24, 40),
    ("postman_key", "PMAK-", r"0-9a-f\-", 50, 64),
    ("figma_token", "fig[dou]_", URL64, 40, 64),
    ("age_key", "AGE-SECRET-KEY-1", "0-9A-Z", 58, 58),
)
"""Entity, prefix, and the class, least and greatest length of what follows it."""

FIXED = frozenset({"aws_access_key", "twilio_key", "mailgun_key", "databricks_token"})
"""Prefixes so short that a longer run of the same letters is something else, such as a digest."""


def shapes() -> list[Shape]:
    """Every vendor's shapes."""
    return [*map(_token, TOKENS), _telegram(), *_assigned()]


def _token(row: tuple[str, str, str, int, int]) -> Shape:
    entity, prefix, body, least, most = row
    end = "(?![A-Za-z0-9])" if entity in FIXED else ""
    pattern = rf"(?<![A-Za-z0-9]){prefix}[{body}]{{{least},{most}}}{end}"
    return Shape(entity, pattern, f"{prefix}[{body}]{{{min(least, 10)}}}", _varied)


def _varied(text: str) -> bool:
    """No `sk-xxxxxxxxxxxxxxxxxxxx`."""
    tail = text[-16:]
    return len(set(tail)) > len("ab")


def _telegram() -> Shape:
    """Stands right behind letters in a URL: `/bot123456789:AA…/getMe`."""
    pattern = rf"(?<![0-9])[0-9]{{6,10}}:[{URL64}]{{35}}(?![{URL64}])"
    return Shape("telegram_token", pattern, rf"[0-9]{{6}}:[{URL64}]{{10}}", _varied)


def _assigned() -> list[Shape]:
    """Keys without a prefix of their own: the name before them tells them."""
    amazon = r"(?:secret[_\-. ]?access[_\-. ]?key|aws[_\-. ]?secret(?:[_\-. ]?key)?)"
    equals = r"\\?[\"'`]?\]?[ \t]{0,4}(?:=>|:=|[:=])[ \t]{0,4}\\?[\"'`]?"
    return [
        Shape(
            "aws_secret_key",
            rf"(?<![A-Za-z]){amazon}{equals}(?P<secret>[A-Za-z0-9/+]{{40}})(?![A-Za-z0-9/+=])",
            rf"{amazon}[^A-Za-z0-9]+[A-Za-z0-9/+]{{40}}",
            _mixed,
            re.IGNORECASE,
        ),
        Shape(
            "azure_storage_key",
            r"(?<![a-z])(?:AccountKey|SharedAccessKey)=(?P<secret>(?:[A-Za-z0-9+/]{86}=|[A-Za-z0-9+/]{43})=)",
            r"(?:AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{8}",
            _varied,
        ),
        Shape(
            "azure_sas",
            r"[?&;]sig=(?P<secret>[A-Za-z0-9%+/=]{40,120})",
            r"[?&;]sig=[A-Za-z0-9%+/]{8}",
            _varied,
        ),
    ]


def _mixed(text: str) -> bool:
    return text.lower() != text and text.upper() != text
