"""What pydantic finds wrong with the values, in the words of the document."""

from __future__ import annotations

from typing import get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from guards.policy import Document
from guards.problem import nearest, one_of
from guards.reading.report import Report, shown
from guards.reading.source import Data, Place
from guards.section import Section

WANTED = {
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def report_faults(error: ValidationError, data: Data, report: Report) -> None:
    for details in error.errors(include_url=False, include_input=False):
        _report(details, data, report)


def _report(details: ErrorDetails, data: Data, report: Report) -> None:
    place, kind = details["loc"], details["type"]
    if place == ("version",) and kind != "missing":
        return  # told of already, with its own remedy
    if kind == "extra_forbidden":
        _unknown_key(place, report)
    elif kind == "missing":
        report.add(place, f"{shown(place[:-1])} has no `{place[-1]}`", f"add {_example(place)}")
    elif kind == "literal_error":
        _not_a_choice(place, data, report)
    elif kind in ("too_short", "string_too_short"):
        if not value_at(data, place):
            report.add(place, f"{shown(place)} is empty", f"write {_example(place)}")
    elif kind == "document":
        context = details["ctx"]
        report.add(place, f"{shown(place)} {context['message']}", context["remedy"] or f"write {_example(place)}")
    else:
        _wrong_type(place, WANTED.get(kind, "of another type"), data, report)


def _unknown_key(place: Place, report: Report) -> None:
    section, key = _section_at(place[:-1]), str(place[-1])
    known = sorted(section.model_fields) if section else []
    meant = nearest(key, known)
    remedy = f"did you mean `{meant}`?" if meant else f"remove it; known keys are {', '.join(known)}"
    report.add(place, f"unknown key `{key}` in {shown(place[:-1])}", remedy)


def _not_a_choice(place: Place, data: Data, report: Report) -> None:
    field = _field_at(place)
    choices = choices_of(field.annotation) if field else []
    value = value_at(data, place)
    meant = nearest(value, choices) if isinstance(value, str) else None
    quoted = report.quote(place) if isinstance(value, str) else "a value of another type"
    remedy = f"did you mean {meant}?" if meant else f"write {_example(place)}"
    report.add(place, f"{shown(place)} must be {one_of(choices)}, not {quoted}", remedy)


def _wrong_type(place: Place, wanted: str, data: Data, report: Report) -> None:
    value = value_at(data, place)
    if value is None:
        report.add(place, f"{shown(place)} has no value", f"write {_example(place)}, or remove the key")
    elif wanted == "text" and isinstance(value, bool | int | float):
        report.add(place, f"{shown(place)} must be text", "put it in quotes")
    else:
        report.add(place, f"{shown(place)} must be {wanted}", f"write {_example(place)}")


def value_at(data: Data, place: Place) -> Data:
    """What stands at the place; the bare text for a key of a section that may be written as one word."""
    for step in place:
        if isinstance(data, dict):
            data = data.get(str(step))
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
    return data


def choices_of(annotation: object) -> list[str]:
    """The words of the Literals in a type."""
    found: list[str] = []
    for part in get_args(annotation):
        found += [part] if isinstance(part, str) else choices_of(part)
    return found


def _section_in(annotation: object) -> type[Section] | None:
    """The section that a type holds, in a tuple or a union."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((s for part in get_args(annotation) if (s := _section_in(part))), None)


def _section_at(place: Place) -> type[Section] | None:
    section: type[Section] | None = Document
    for step in place:
        if isinstance(step, str) and section is not None:
            field = section.model_fields.get(step)
            section = _section_in(field.annotation) if field else None
    return section


def _field_at(place: Place) -> FieldInfo | None:
    """The field that the last key of the place names."""
    last = next((i for i in reversed(range(len(place))) if isinstance(place[i], str)), None)
    section = _section_at(place[:last]) if last is not None else None
    return section.model_fields.get(str(place[last])) if section and last is not None else None


def _example(place: Place) -> str:
    """The field as one may write it."""
    field = _field_at(place)
    key = next((step for step in reversed(place) if isinstance(step, str)), "")
    return f"`{key}: {field.examples[0]}`" if field and field.examples else f"a value for {shown(place)}"
