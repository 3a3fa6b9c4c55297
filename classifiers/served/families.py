"""The families by the names that a config may use. `classify` needs the model's labels besides."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from classifiers.served.classes import Classes
from classifiers.served.family import Family
from classifiers.served.granite import GraniteGuardian
from classifiers.served.llama_guard import LlamaGuard
from classifiers.served.nemotron import Nemotron
from classifiers.served.qwen_guard import QwenGuard
from classifiers.served.safeguard import Safeguard
from classifiers.served.shield_gemma import ShieldGemma
from classifiers.served.wild_guard import WildGuard

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "llama_guard": LlamaGuard(),
        "shieldgemma": ShieldGemma(),
        "wildguard": WildGuard(),
        "granite_guardian_3.1": GraniteGuardian("3.1"),
        "granite_guardian_3.2": GraniteGuardian("3.2"),
        "granite_guardian_3.3": GraniteGuardian("3.3"),
        "granite_guardian_4.1": GraniteGuardian("4.1"),
        "qwen3guard": QwenGuard(),
        "nemotron_safety_guard": Nemotron(),
        "nemotron_content_safety_3.5": Nemotron("lines"),
        "gpt_oss_safeguard": Safeguard(),
    }
)

CLASSES = "classify"
HARMLESS = "safe"
"""What the config calls a label that stands for no category."""


def family_of(name: str, labels: Mapping[str, str], *, exclusive: bool = True) -> Family | None:
    """The family of that name, or None. `labels`: of `classify`, in the order of the model's outputs."""
    if name != CLASSES:
        return FAMILIES.get(name)
    known = tuple((label, "" if category == HARMLESS else category) for label, category in labels.items())
    return Classes(known, exclusive)
