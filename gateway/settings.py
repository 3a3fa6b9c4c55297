"""The only place that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """What the process was started with."""

    config: Path | None
    redis_url: str | None
    """None: an embedded Redis."""
    data: Path
    log_level: str
    metrics_dir: Path | None
    """Where several workers keep their series; set by the parent process."""
    encryption_keys: str | None
    """`id:base64`, comma separated: seal the texts of flags and cases. None: they lie as they are."""
    environ: Mapping[str, str]

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Settings:
        env = os.environ if environ is None else environ
        config, metrics = env.get("WARDGATE_CONFIG"), env.get("PROMETHEUS_MULTIPROC_DIR")
        return cls(
            Path(config) if config else None,
            env.get("WARDGATE_REDIS_URL") or None,
            Path(env.get("WARDGATE_DATA") or ".wardgate").absolute(),
            env.get("WARDGATE_LOG_LEVEL", "info").lower(),
            Path(metrics) if metrics else None,
            env.get("WARDGATE_ENCRYPTION_KEYS") or None,
            env,
        )
