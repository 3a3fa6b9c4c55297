"""The README against the code: what can be set, asked for, measured or refused stands in it, as it is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

import pytest
from pydantic.fields import FieldInfo
from typer.core import TyperGroup
from typer.main import get_command

from gateway.cli import app
from gateway.errors import UpstreamRefused, WardgateError
from gateway.metrics import Metrics
from gateway.settings import Settings
from guards.catalog import KINDS
from guards.checks import DEFAULT_CATEGORY
from guards.document import load
from guards.fields import DURATION, SECONDS, size
from guards.kinds import pii, secrets, tool_call, unicode
from guards.policy import Document
from guards.section import Section

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
UNSET = "–"


def rows(first: str) -> list[list[str]]:
    """The cells of every table row of the README whose first or second cell is `first` in code type."""
    table = [re.split(r"(?<!\\)\|", line)[1:-1] for line in README.splitlines() if line.startswith("|")]
    stripped = [[cell.strip() for cell in row] for row in table]
    return [row for row in stripped if f"`{first}`" in row[:2]]


def section(title: str) -> str:
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def settings(model: type[Section], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of the config that holds a value, with the path to it."""
    for name, field in model.model_fields.items():
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if isinstance(t, type)]
        nested = next((t for t in inner if issubclass(t, Section)), None)
        many = "[]" if Ellipsis in get_args(field.annotation) else ""
        if nested is None:
            yield f"{path}{name}{many}", field
        else:
            yield from settings(nested, f"{path}{name}{many}.")


def agrees(cell: str, field: FieldInfo) -> bool:
    """Whether a cell of the default column says the default."""
    default = field.default
    if field.is_required():
        return cell == "required"
    if isinstance(default, bool):
        return cell == str(default).lower()
    if isinstance(default, float):
        match = DURATION.fullmatch(cell)
        return (float(match[1]) * SECONDS[match[2]] if match else float(cell)) == default
    if isinstance(default, int):
        return size(cell) == default
    if isinstance(default, tuple) and default:
        return cell == f"[{', '.join(default)}]"
    return cell == (default or UNSET)


def commands(group: TyperGroup, name: str) -> Iterator[str]:
    for command in group.commands.values():
        whole = f"{name} {command.name}"
        if isinstance(command, TyperGroup):
            yield from commands(command, whole)
        else:
            yield whole


def errors(kind: type[WardgateError] = WardgateError) -> Iterator[type[WardgateError]]:
    """The classes that have a code of their own."""
    if "code" in vars(kind):
        yield kind
    for child in kind.__subclasses__():
        yield from errors(child)


def series() -> list[str]:
    """The names that a scrape shows."""
    return [f"{m.name}_total" if m.type == "counter" else m.name for m in Metrics.build().registry.collect()]


class Overheard(Mapping[str, str]):
    """An empty environment that remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getitem__(self, key: str) -> str:
        self.asked.append(key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("path", [path for path, _ in settings(Document)])
def test_every_setting_stands_in_the_readme_with_its_default(path: str) -> None:
    field = dict(settings(Document))[path]
    found = rows(path)
    assert len(found) == 1, f"the config reference has {len(found)} rows for `{path}`"
    assert agrees(found[0][1], field), f"`{path}`: the README says {found[0][1]!r}, the code {field.default!r}"


def test_the_config_reference_names_no_setting_that_does_not_exist() -> None:
    named = set(re.findall(r"^\| `((?:upstreams|models|policies|tenants|server)[\w.\[\]]+)` \|", README, re.MULTILINE))
    assert named <= {path for path, _ in settings(Document)}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_guard_kind_stands_in_the_readme_with_its_keys_and_category(kind: str) -> None:
    row = next(row for row in rows(kind) if row[0] == f"`{kind}`" and len(row) == 5)
    assert row[2] == f"`{DEFAULT_CATEGORY[kind]}`"
    assert set(re.findall(r"`(\w+)`", row[3])) == KINDS[kind].keys
    assert set(re.findall(r"`(\w+)` \(required\)", row[3])) == KINDS[kind].required


@pytest.mark.parametrize(
    "entities",
    [pii.ENTITIES, secrets.ENTITIES, unicode.ENTITIES, tool_call.ENTITIES],
    ids=["pii", "secrets", "unicode", "tool_call"],
)
def test_every_entity_stands_in_the_readme(entities: Mapping[str, object]) -> None:
    missing = [name for name in entities if not any(row[0] == f"`{name}`" and len(row) == 2 for row in rows(name))]
    assert not missing


def test_every_metric_stands_in_the_readme() -> None:
    assert [name for name in series() if not rows(name)] == []


def test_the_readme_names_no_metric_that_does_not_exist() -> None:
    assert set(re.findall(r"`(wardgate_\w+)`", README)) <= set(series())


def test_every_error_code_stands_in_the_readme_with_its_status() -> None:
    codes = {kind.code: status_of(kind) for kind in errors()}
    assert codes == {code: next((row[0] for row in rows(code) if row[1] == f"`{code}`"), "") for code in codes}


def status_of(kind: type[WardgateError]) -> str:
    return "the upstream's" if kind is UpstreamRefused else str(kind.status)


def test_every_command_stands_in_the_readme() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    table = re.findall(r"^\| `(wardgate [^`]+)`", README, re.MULTILINE)
    missing = [
        name for name in commands(group, "wardgate") if not any(f"{row} ".startswith(f"{name} ") for row in table)
    ]
    assert not missing


def test_every_environment_variable_stands_in_the_readme() -> None:
    environ = Overheard()
    Settings.read(environ)
    assert environ.asked
    assert [name for name in environ.asked if name not in section("Environment")] == []


def test_the_configs_of_the_readme_are_valid(tmp_path: Path) -> None:
    examples = re.findall(r"^```yaml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        assert load(example, KINDS, {"VLLM_API_KEY": "a-key"}, tmp_path).warnings == ()


def test_every_place_on_the_map_of_the_code_exists() -> None:
    block = section("Map of the code").split("```text\n", 1)[1].split("```", 1)[0]
    room = ROOT
    for line in block.splitlines():
        names = re.match(r" *((?:[\w./]+(?:/|\.\w+) ?)+)(?= )", line)
        assert names is not None, line
        if not line.startswith(" "):
            room = ROOT / names[1].split()[0]
        base = room if line.startswith(" ") else ROOT
        assert [name for name in names[1].split() if not (base / name).exists()] == []


def test_every_module_of_the_top_rooms_is_on_the_map_of_the_code() -> None:
    text = section("Map of the code")
    modules = [m.name for room in ("gateway", "guards") for m in (ROOT / room).glob("[!_]*.py")]
    assert [name for name in modules if name not in text] == []


def test_every_link_inside_the_readme_leads_somewhere() -> None:
    targets = set(re.findall(r'<a id="([\w-]+)">', README))
    assert set(re.findall(r"\]\(#([\w-]+)\)", README)) <= targets


def test_the_newest_version_of_the_changelog_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    newest = re.search(r"^## (\S+)", CHANGELOG, re.MULTILINE)
    assert newest is not None
    assert newest[1] == project["version"]
