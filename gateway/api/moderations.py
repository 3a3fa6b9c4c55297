"""`POST /v1/moderations`, in OpenAI's shape (https://platform.openai.com/docs/api-reference/moderations)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from classifiers.classifier import ClassifierError, Sample, Scores
from classifiers.embedded import Embedded
from gateway.access import Access
from gateway.api.asgi import parse_object, read_body
from gateway.classifying import Classifying
from gateway.config import Config
from gateway.errors import ClassifierUnavailable, InvalidRequest
from gateway.metrics import Metrics

MAX_INPUTS = 256
"""Texts in one request."""
MAX_CHARS = 300_000
"""Characters of all of them: about ten seconds of the classifier."""


def both(*names: str) -> Callable[[Scores], float]:
    """As likely as the least likely of them."""
    return lambda s: min(s[n] for n in names)


def any_of(*names: str) -> Callable[[Scores], float]:
    return lambda s: max(s[n] for n in names)


CATEGORIES: Mapping[str, Callable[[Scores], float]] = {
    "harassment": any_of("toxicity"),
    "harassment/threatening": both("toxicity", "violent_crimes"),
    "hate": any_of("hate"),
    "hate/threatening": both("hate", "violent_crimes"),
    "illicit": any_of("nonviolent_crimes", "code_abuse", "weapons"),
    "illicit/violent": any_of("weapons"),
    "self-harm": any_of("self_harm"),
    "self-harm/instructions": both("self_harm", "harm"),
    "self-harm/intent": any_of("self_harm"),
    "sexual": any_of("sexual_content", "sex_crimes"),
    "sexual/minors": any_of("child_exploitation"),
    "violence": any_of("violent_crimes"),
    "violence/graphic": both("violent_crimes", "harm"),
}
"""OpenAI's categories, from ours."""
FLAGGING = ("harm", "toxicity")
"""Ours that flag by themselves, whichever hazard it is."""


def moderation_routes(config: Config, classifying: Classifying, metrics: Metrics, access: Access) -> APIRouter:
    """The route, answered by the model that ships in the package."""
    routes = APIRouter()

    @routes.post("/v1/moderations")
    async def moderations(request: Request) -> Response:
        limits = config.plan.document.server
        async with access.admitted(request.scope) as headers:
            body = await read_body(request.scope, request.receive, limits.max_body, limits.body_timeout)
            answer = await moderate(inputs(parse_object(body).get("input")))
        return Response(orjson.dumps(answer), media_type="application/json", headers=dict(headers))

    async def moderate(texts: list[str]) -> dict[str, Any]:
        if sum(map(len, texts)) > MAX_CHARS:
            raise InvalidRequest(f"`input` may hold {MAX_CHARS:,} characters at most.", param="input")
        embedded = await classifying.shipped()
        try:
            scores = await embedded.classify([Sample(t) for t in texts])
        except ClassifierError as error:
            metrics.guard_errors.labels("moderations", error.reason).inc()
            raise ClassifierUnavailable("The classifier cannot take more texts now; ask again.") from None
        results = [result(s, embedded) for s in scores]
        return {"id": f"modr-{uuid.uuid4().hex}", "model": f"{embedded.name}-{embedded.version}", "results": results}

    return routes


def inputs(given: object) -> list[str]:
    """A text, a list of texts, or a list of content parts, which are one input together."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        raise InvalidRequest("`input` must be a string or a non-empty array.", param="input")
    if len(given) > MAX_INPUTS:
        raise InvalidRequest(f"`input` may hold {MAX_INPUTS} texts at most.", param="input")
    if all(isinstance(each, str) for each in given):
        return list(given)
    return ["\n".join(part(each, i) for i, each in enumerate(given))]


def part(given: object, index: int) -> str:
    if isinstance(given, dict) and given.get("type") == "text" and isinstance(given.get("text"), str):
        return str(given["text"])
    raise InvalidRequest("Only texts can be moderated: strings, or parts of type `text`.", param=f"input[{index}]")


def result(scores: Scores, embedded: Embedded) -> dict[str, Any]:
    """One input's result. A category is flagged where the thresholds of the model's makers are reached."""
    found = {name: score(scores) for name, score in CATEGORIES.items()}
    bars = {name: score(embedded.thresholds) for name, score in CATEGORIES.items()}
    flagged = {name: value >= bars[name] for name, value in found.items()}
    whole = any(flagged.values()) or any(scores[n] >= embedded.thresholds[n] for n in FLAGGING)
    return {
        "flagged": whole,
        "categories": flagged,
        "category_scores": {name: round(value, 6) for name, value in found.items()},
        "category_applied_input_types": {name: ["text"] for name in found},
        "wardgate": {name: round(value, 6) for name, value in scores.items()},
    }
