"""The `wardgate` command."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gateway.audit_view import destroy_key, forget, verify
from gateway.export.command import export_cases, print_summary, request_of
from gateway.export.folder import ExportError
from gateway.flags_view import print_flag, print_list
from gateway.keys_view import NoSuchKey, new_key, print_keys, revoke_key
from gateway.live.keys import ROLES
from gateway.reach import Unreachable, place
from gateway.scan import ScanError, scan_lines
from gateway.serving import Refused, run
from gateway.settings import Settings
from gateway.vault import BadMasterKey, masters
from guards.catalog import KINDS
from guards.document import DocumentError, Loaded, load_file

app = typer.Typer(
    name="wardgate",
    help="A guarded, OpenAI-compatible inference gateway.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
keys = typer.Typer(no_args_is_help=True, help="API keys.")
flags = typer.Typer(no_args_is_help=True, help="Flagged exchanges.")
audit = typer.Typer(no_args_is_help=True, help="The ledger of what people did.")
privacy = typer.Typer(no_args_is_help=True, help="Records that must go.")
app.add_typer(keys, name="keys")
app.add_typer(flags, name="flags")
app.add_typer(audit, name="audit")
app.add_typer(privacy, name="privacy")
ERR = Console(stderr=True)

ConfigOption = Annotated[Path, typer.Option("--config", "-c", envvar="WARDGATE_CONFIG", help="The YAML config.")]


def fail(message: str) -> typer.Exit:
    """A user's mistake: one message, no traceback."""
    ERR.print(message, style="red", highlight=False, markup=False, soft_wrap=True)
    return typer.Exit(1)


def check_keys() -> None:
    """Before anything is served: texts that cannot be sealed must not be kept."""
    try:
        masters(Settings.read().encryption_keys or "")
    except BadMasterKey as error:
        raise fail(str(error)) from None


def read_config(path: Path) -> Loaded:
    """The validated config; every problem of it on stderr otherwise."""
    try:
        return load_file(path, KINDS, os.environ)
    except DocumentError as error:
        raise fail(str(error)) from None


@app.command(epilog="Example: wardgate serve --config wardgate.yaml --port 8080 --workers 2")
def serve(
    config: ConfigOption,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = 1,
) -> None:
    """Run the gateway."""
    loaded = read_config(config)
    check_keys()
    try:
        run(
            Settings.read({**os.environ, "WARDGATE_CONFIG": str(config.absolute())}),
            loaded.document,
            host,
            port,
            workers,
        )
    except Refused as error:
        raise fail(str(error)) from None


@app.command(epilog="Example: wardgate demo --port 8080")
def demo(
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
    no_traffic: Annotated[bool, typer.Option("--no-traffic", help="Only serve; send no sample requests.")] = False,
) -> None:
    """Run the gateway with everything embedded: a simulated model, sample policies, sample traffic."""
    from gateway.demo import run_demo  # noqa: PLC0415

    raise typer.Exit(run_demo(port, traffic=not no_traffic))


@app.command(epilog="Example: wardgate check wardgate.yaml")
def check(file: Annotated[Path, typer.Argument(help="The YAML config.")]) -> None:
    """Validate a config; every error with its line and what to write instead."""
    loaded = read_config(file)
    for warning in loaded.warnings:
        ERR.print(
            f"warning: {warning.render(str(file))}", style="yellow", highlight=False, markup=False, soft_wrap=True
        )
    names = ", ".join(f"{p.name}@{p.hash}" for p in loaded.document.policies) or "none"
    typer.echo(f"{file}: ok (policies: {names})")


@app.command(epilog="Example: wardgate scan --config wardgate.yaml --stage output < rows.jsonl > verdicts.jsonl")
def scan(
    config: ConfigOption,
    policy: Annotated[str | None, typer.Option(help="Name of a policy; by default the config's first.")] = None,
    stage: Annotated[str, typer.Option(help="input or output.")] = "",
) -> None:
    """Run the guards over JSON lines from stdin; verdicts in the same order on stdout."""
    document = read_config(config).document
    try:
        asyncio.run(scan_lines(document, policy, stage, sys.stdin.buffer, sys.stdout.buffer))
    except ScanError as error:
        raise fail(str(error)) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None


@keys.command("new", epilog="Example: wardgate keys new --tenant acme --role app")
def keys_new(
    tenant: Annotated[str, typer.Option(help="The tenant in the config that the key is for.")],
    role: Annotated[str, typer.Option(help="app, reviewer, senior, operator, auditor or admin.")] = "app",
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", envvar="WARDGATE_CONFIG", help="The YAML config, to check the tenant's name."),
    ] = None,
) -> None:
    """Make a key that running gateways take within a second, and print it once."""
    known = next((r for r in ROLES if r == role), None)
    if known is None:
        raise fail(f"unknown role {role!r}: use {', '.join(ROLES[:-1])} or {ROLES[-1]}")
    if config is not None:
        check_tenant(tenant, read_config(config))
    settings = Settings.read()
    try:
        secret, key = new_key(settings, tenant, known)
    except Unreachable as error:
        raise fail(str(error)) from None
    typer.echo(f"key:  {secret}")
    typer.echo(f"hash: sha256:{key.hash}")
    typer.echo(f"id:   {key.id}")
    ERR.print(
        f"The key is shown once. Gateways on {place(settings)} whose config has the tenant {tenant!r} know it from now "
        "on; elsewhere put the hash under `keys:` of the tenant.",
        style="dim",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def check_tenant(name: str, loaded: Loaded) -> None:
    """A key for a tenant that does not exist would open nothing."""
    names = [t.name for t in loaded.document.tenants]
    if name not in names:
        there = f"its tenants are {', '.join(names)}" if names else "it has no tenants"
        raise fail(f"the config has no tenant {name!r}: {there}")


@keys.command("list", epilog="Example: wardgate keys list")
def keys_list(
    as_json: Annotated[bool, typer.Option("--json", help="One object a line.")] = False,
) -> None:
    """Keys made by `keys new`, oldest first, with the revoked ones."""
    try:
        print_keys(Settings.read(), as_json=as_json)
    except Unreachable as error:
        raise fail(str(error)) from None


@keys.command("revoke", epilog="Example: wardgate keys revoke 4f0c81d29ab3")
def keys_revoke(
    name: Annotated[str, typer.Argument(metavar="ID", help="The key's id, or how the id or the key begins.")],
) -> None:
    """End a key: running gateways refuse it within a second."""
    try:
        key = revoke_key(Settings.read(), name)
    except (NoSuchKey, Unreachable) as error:
        raise fail(str(error)) from None
    typer.echo(f"revoked {key.id} ({key.begins}…, {key.role} of {key.tenant})")


@flags.command("list", epilog="Example: wardgate flags list --limit 20 --since 1h")
def flags_list(
    as_json: Annotated[bool, typer.Option("--json", help="One object a line.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    since: Annotated[str | None, typer.Option(help="A time (2026-01-31T12:00) or an age (30m, 2h, 7d).")] = None,
) -> None:
    """Flagged exchanges, newest first."""
    try:
        print_list(Settings.read(), as_json=as_json, limit=limit, since=since)
    except (Unreachable, ValueError) as error:
        raise fail(str(error)) from None


@flags.command("show", epilog="Example: wardgate flags show 4f0c…")
def flags_show(id: Annotated[str, typer.Argument(help="The answer's x-request-id.")]) -> None:
    """One flagged exchange, whole."""
    try:
        found = print_flag(Settings.read(), id)
    except Unreachable as error:
        raise fail(str(error)) from None
    if not found:
        raise fail(f"no flagged exchange has the id {id!r}; `wardgate flags list` shows those that are kept")


@app.command(epilog="Example: wardgate export --config wardgate.yaml --format dpo --out sets/dpo --since 30d")
def export(
    config: ConfigOption,
    *,
    format: Annotated[str, typer.Option(help="sft, sft-pc, dpo, kto, reward, grpo or guard.")],
    out: Annotated[Path, typer.Option(help="A folder that is not there yet.")],
    axolotl: Annotated[bool, typer.Option("--axolotl", help="As Axolotl reads it: sft and dpo.")] = False,
    tenant: Annotated[str, typer.Option(help="One tenant's cases alone.")] = "",
    policy: Annotated[str, typer.Option(help="Name, or name@hash.")] = "",
    category: Annotated[str, typer.Option(help="Of the guards, or as a reviewer corrected it.")] = "",
    since: Annotated[str | None, typer.Option(help="Decided since: a time, or an age (30m, 2h, 7d).")] = None,
    validation: Annotated[float, typer.Option(min=0, max=1, help="Share of the conversations.")] = 0.1,
    cap: Annotated[int, typer.Option(min=1, help="Samples of one end user at most.")] = 100,
    licence: Annotated[str, typer.Option(help="Written into the manifest.")] = "unspecified",
) -> None:
    """Make a training set of what people have decided."""
    document, kind = read_config(config).document, f"axolotl-{format}" if axolotl else format
    terms = {"tenant": tenant, "policy": policy, "category": category, "licence": licence}
    try:
        request = request_of(kind, since=since, validation=validation, cap=cap, **terms)
        manifest = export_cases(Settings.read(), document, request, out)
    except (ExportError, Unreachable) as error:
        raise fail(str(error)) from None
    print_summary(manifest, out)


@audit.command("verify", epilog="Example: wardgate audit verify")
def audit_verify() -> None:
    """Check that no row of the ledger was changed, removed or put in; exit 1 otherwise."""
    try:
        sound = verify(Settings.read())
    except Unreachable as error:
        raise fail(str(error)) from None
    if not sound:
        raise typer.Exit(1)


@privacy.command("forget", epilog="Example: wardgate privacy forget --tenant acme --user 4711")
def privacy_forget(
    tenant: Annotated[str, typer.Option(help="Whose end user it is; without tenants: open.")],
    user: Annotated[str, typer.Option(help="As requests name him in `user`, `safety_identifier` or `user_id`.")],
) -> None:
    """Remove the flags, cases and held answers of one end user."""
    try:
        gone = forget(Settings.read(), tenant, user)
    except Unreachable as error:
        raise fail(str(error)) from None
    typer.echo(f"gone: {gone.flags} flags, {gone.cases} cases")


@privacy.command("destroy-key", epilog="Example: wardgate privacy destroy-key --tenant acme --yes")
def privacy_destroy_key(
    tenant: Annotated[str, typer.Option(help="Whose texts.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make every text that was sealed for a tenant unreadable, for good; gateways follow within a minute."""
    if not yes:
        typer.confirm(f"Nobody will ever read the kept texts of {tenant!r} again. Go on?", abort=True)
    try:
        had = destroy_key(Settings.read(), tenant)
    except (Unreachable, BadMasterKey) as error:
        raise fail(str(error)) from None
    if not had:
        raise fail(f"the tenant {tenant!r} has no key here: set WARDGATE_ENCRYPTION_KEYS as the gateways have it")
    typer.echo(f"the key of {tenant} is destroyed")


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
