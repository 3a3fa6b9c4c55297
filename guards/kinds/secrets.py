"""Kind `secrets`: keys and tokens by the form that vendors gave them, and high-entropy values of telling names."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence

from guards.kinds import secrets_assigned, secrets_vendors
from guards.shape import Shape

ENTITIES: Mapping[str, str] = {
    "private_key": "private-key block (PEM, OpenSSH, PGP), also a truncated one",
    "jwt": "JSON Web Token",
    "url_password": "password in a URL",
    "secret": "high-entropy value of a password, secret, token or key",
    "aws_access_key": "AWS access key id",
    "aws_secret_key": "AWS secret access key, assigned",
    "gcp_api_key": "Google API key",
    "google_oauth_secret": "Google OAuth client secret or access token",
    "azure_storage_key": "Azure storage or bus key, assigned",
    "azure_sas": "signature of an Azure SAS URL",
    "github_token": "GitHub token",
    "gitlab_token": "GitLab token",
    "slack_token": "Slack token",
    "slack_webhook": "Slack webhook",
    "discord_token": "Discord bot token",
    "discord_webhook": "Discord webhook",
    "telegram_token": "Telegram bot token",
    "stripe_key": "Stripe key or webhook secret",
    "square_token": "Square token",
    "shopify_token": "Shopify token",
    "openai_key": "OpenAI API key",
    "anthropic_key": "Anthropic API key",
    "huggingface_token": "Hugging Face token",
    "model_api_key": "key of another model host (Groq, xAI, Perplexity, Replicate, NVIDIA, OpenRouter, LangSmith)",
    "twilio_key": "Twilio key or account id",
    "sendgrid_key": "SendGrid key",
    "mailgun_key": "Mailgun key",
    "npm_token": "npm token",
    "pypi_token": "PyPI token",
    "registry_token": "token of another package registry (Docker Hub, RubyGems, crates.io)",
    "digitalocean_token": "DigitalOcean token",
    "databricks_token": "Databricks token",
    "doppler_token": "Doppler token",
    "vault_token": "HashiCorp Vault or Terraform Cloud token",
    "grafana_token": "Grafana token",
    "linear_key": "Linear key",
    "notion_token": "Notion token",
    "atlassian_token": "Atlassian token",
    "postman_key": "Postman key",
    "figma_token": "Figma token",
    "age_key": "age secret key",
}
"""Every name that `shapes` knows, and what it stands for."""

TEMPLATE = re.compile(r"\$.*|%[A-Za-z_]+%|[x*.]+|(?:your|my|the|db)?[-_]?pass(?:word|wd)?|pw|pwd|secret", re.IGNORECASE)
PEM_HEADERS = (
    r"Proc-Type: 4,ENCRYPTED|DEK-Info: [A-Z0-9\-]{3,20},[0-9A-Fa-f]{8,64}"
    r"|(?:Version|Comment): [A-Za-z0-9 .()/:\-]{1,48}"
)


def shapes(entities: Sequence[str] | None = None) -> list[Shape]:
    """The shapes of `entities`, all when None; one entity may have several."""
    wanted = ENTITIES.keys() if entities is None else set(entities)
    unknown = sorted(wanted - ENTITIES.keys())
    if unknown:
        raise ValueError(f"unknown entity {', '.join(unknown)}; known: {', '.join(sorted(ENTITIES))}")
    every = [_private_key(), _jwt(), _url_password(), *secrets_assigned.shapes(), *secrets_vendors.shapes()]
    return [shape for shape in every if shape.entity in wanted]


def _private_key() -> Shape:
    """The end is optional, so that an answer cut short hides its key as well; and nothing backtracks."""
    body = r"[A-Za-z0-9+/=\s\\\"']{0,1000}" * 5
    kind = r"(?:[A-Z0-9]{2,10}[ ]){0,3}PRIVATE[ ]KEY(?:[ ]BLOCK)?"
    begin = rf"-----BEGIN[ ]{kind}-----"
    headers = rf"(?:(?:\s|\\[rn]){{1,4}}(?:{PEM_HEADERS})){{0,3}}"
    return Shape("private_key", rf"{begin}{headers}{body}(?:-----END[ ]{kind}-----)?", begin, _key_material)


def _key_material(text: str) -> bool:
    """Prose about such blocks holds no long run of base64."""
    return re.search(r"[A-Za-z0-9+/=]{32}", text) is not None


def _jwt() -> Shape:
    """What follows the payload is optional: unsigned, encrypted (five parts) and truncated tokens tell as much."""
    part = r"[A-Za-z0-9_\-]"
    pattern = rf"(?<![A-Za-z0-9_\-.])eyJ{part}{{8,400}}\.{part}{{8,1000}}{part}{{0,1000}}(?:\.{part}{{0,684}})?"
    return Shape("jwt", pattern, r"eyJ[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]{8}", _jose)


def _jose(text: str) -> bool:
    head = text.split(".", 1)[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return False
    return isinstance(header, dict) and "alg" in header


def _url_password() -> Shape:
    user, password = r"[A-Za-z0-9._~%!$&*+,;=\-]{0,64}", r"[A-Za-z0-9._~%!$&()*+,;=:@#?^|\-]{1,128}"
    pattern = rf"(?<![^A-Za-z0-9])://{user}:(?P<secret>{password})@[A-Za-z0-9\[]"
    return Shape("url_password", pattern, r"://[^ /:@]*:[^ /]+@", _no_template)


def _no_template(text: str) -> bool:
    return TEMPLATE.fullmatch(text) is None
