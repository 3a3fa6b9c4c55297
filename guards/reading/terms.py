"""Files of terms that a denylist names."""

from __future__ import annotations

from pathlib import Path


class TermsError(Exception):
    """The reason, in words that follow "cannot be read:"."""


def read_terms(path: Path) -> list[str]:
    """One term a line. Blank lines are passed over, and comments: lines that begin with `# ` or are a single `#`."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise TermsError(error.strerror or type(error).__name__) from None
    except ValueError:
        raise TermsError("it is not UTF-8 text") from None
    terms = [line.strip() for line in lines]
    return [term for term in terms if term and term != "#" and not term.startswith("# ")]
