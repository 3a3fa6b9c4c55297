"""What a policy says of the arguments of tools."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from guards.fields import Text
from guards.section import Section

Scalar = str | int | float | bool


class ArgumentRule(Section):
    """What an argument of a tool may be: exactly one of the last four."""

    model_config = ConfigDict(allow_inf_nan=False)

    tool: Text = Field(default="*", examples=["fetch"])
    """A name, or a glob."""
    path: Text = Field(examples=["url"])
    """Where the argument stands: `url`, `files.*.name`, or a JSON pointer. What lies below is judged with it."""
    pattern: Text | None = Field(default=None, examples=["'[a-z]{1,20}'"])
    """The whole value must match."""
    one_of: tuple[Scalar, ...] | None = Field(default=None, examples=["[read, list]"])
    hosts: tuple[Text, ...] | None = Field(default=None, examples=['["example.org", "*.example.com"]'])
    """Of a URL, or a host by itself."""
    paths: tuple[Text, ...] | None = Field(default=None, examples=["[/srv/data]"])
    """Folders, with all that is in them, and files."""
