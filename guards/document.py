"""From the text of a config file to a Document, or to every problem in it: its line and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from guards.fields import Reading
from guards.policy import Document, KindSpec
from guards.problem import Complaint, DocumentError, Problem
from guards.reading.faults import report_faults
from guards.reading.names import check_names
from guards.reading.report import Report, in_order, members
from guards.reading.rules import check_rules
from guards.reading.source import Data, Place, Source, SourceError
from guards.reading.terms import TermsError, read_terms

__all__ = ["Complaint", "Document", "DocumentError", "KindSpec", "Loaded", "Problem", "load", "load_file"]


class Loaded(NamedTuple):
    document: Document
    warnings: tuple[Problem, ...]
    """Allowed, and probably a slip."""
    files: tuple[Path, ...]
    """What was read beside the config file; a change there is a change of the document."""


def load_file(path: Path, kinds: Mapping[str, KindSpec], environ: Mapping[str, str]) -> Loaded:
    """Read and validate a config file; raises DocumentError only."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        problem = Problem(1, f"cannot be read: {error.strerror or type(error).__name__}", "name a YAML file")
        raise DocumentError(str(path), [problem]) from None
    except ValueError:
        raise DocumentError(str(path), [Problem(1, "is not UTF-8 text", "save it as UTF-8")]) from None
    return load(text, kinds, environ, path.parent, str(path))


def load(
    text: str, kinds: Mapping[str, KindSpec], environ: Mapping[str, str], base: Path, file: str = "config"
) -> Loaded:
    """Validate a config. `base` is the folder that its relative paths start from, `file` its name in messages."""
    try:
        source = Source.parse(text, environ)
        data = source.data()
    except SourceError as error:
        raise DocumentError(file, [error.problem]) from None
    if not isinstance(data, dict):
        raise DocumentError(file, [Problem(source.line(()), "the document must be a mapping", "begin: `version: 1`")])
    report = Report(source)
    reading = Reading(_terms(data, base, report))
    check_names(data, report)
    check_rules(data, kinds, reading, report)
    document = _validate(data, reading, report)
    warnings = in_order(report.warnings)
    if document is None or report.failed():
        raise DocumentError(file, report.failed(), warnings)
    return Loaded(document, tuple(warnings), tuple(base / name for name in reading.terms))


def _validate(data: dict[str, Data], reading: Reading, report: Report) -> Document | None:
    try:
        return Document.model_validate(data, context=reading)
    except ValidationError as error:
        report_faults(error, data, report)
        return None


def _terms(data: dict[str, Data], base: Path, report: Report) -> Mapping[str, Sequence[str]]:
    """The terms of every file that a guard names, by the name it has there."""
    terms: dict[str, Sequence[str]] = {}
    for place, policy in members(data, ("policies",)):
        for at, rule in members(policy, (*place, "guards")):
            name = rule.get("terms_file")
            if isinstance(name, str) and name.strip() and not report.spoiled((*at, "terms_file")):
                _read((*at, "terms_file"), base / name, terms, name, report)
    return terms


def _read(place: Place, path: Path, terms: dict[str, Sequence[str]], name: str, report: Report) -> None:
    try:
        terms[name] = read_terms(path)
    except TermsError as error:
        message = f"{report.quote(place)} cannot be read: {error}"
        report.add(place, message, "write a path relative to this file, of a UTF-8 text with one term a line")
