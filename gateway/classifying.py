"""The classifiers of this process: the one that ships, and the local models and guard LLMs that a config names."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

from classifiers.classifier import Classifier
from classifiers.embedded import Embedded, Limits
from classifiers.model import Model, ModelError
from classifiers.served.families import family_of
from classifiers.served.served import Limits as ServedLimits
from classifiers.served.served import Served
from classifiers.transformer import BOTH, PRESETS, Transformer
from guards.catalog import scores, source
from guards.checks import labels_of
from guards.policy import Document, Rule


class Classifying:
    """Makes each classifier when a config or a request first needs it, and keeps it across reloads."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits
        self._embedded: Embedded | None = None
        self._served: dict[str, Served] = {}
        self._transformers: dict[str, Transformer] = {}
        self._loading = asyncio.Lock()

    async def behind(self, document: Document) -> Mapping[str, Classifier]:
        """`source(rule)` -> classifier, for every rule of the document that scores."""
        rules = [rule for policy in document.policies for rule in policy.guards if scores(rule.kind)]
        return {source(rule): await self._of(rule) for rule in rules}

    async def _of(self, rule: Rule) -> Classifier:
        if rule.kind == "classifier":
            return await self.shipped()
        if rule.kind == "transformer":
            return await self._local(rule)
        key = source(rule)
        if key not in self._served:
            secret = rule.api_key.get_secret_value() if rule.api_key else None
            limits = ServedLimits(timeout=rule.timeout)
            family = family_of(rule.family or "", rule.labels or {}, exclusive=not rule.multi_label)
            if family is None:
                raise ModelError(f"guard {rule.name}: there is no family {rule.family!r} of guard LLMs")
            self._served[key] = Served.at(rule.base_url or "", rule.model or "", family, api_key=secret, limits=limits)
        return self._served[key]

    async def _local(self, rule: Rule) -> Transformer:
        key, preset = source(rule), PRESETS.get(rule.model or "")
        if key not in self._transformers:
            model = await asyncio.to_thread(
                partial(
                    Transformer.load,
                    rule.model or "",
                    labels_of(rule),
                    rule.model or "",
                    rule.device,
                    roles=preset.roles if preset else BOTH,
                    remote_code=rule.remote_code,
                    limits=self._limits,
                )
            )
            await model.start()
            self._transformers[key] = model
        return self._transformers[key]

    async def shipped(self) -> Embedded:
        """The shipped classifier, loaded and warm."""
        async with self._loading:
            if self._embedded is None:
                embedded = Embedded(await asyncio.to_thread(Model.load), self._limits)
                await embedded.start()
                self._embedded = embedded
            return self._embedded

    async def close(self) -> None:
        for served in self._served.values():
            await served.close()
        for local in self._transformers.values():
            await local.close()
        if self._embedded is not None:
            await self._embedded.close()
