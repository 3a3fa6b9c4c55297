"""The shipped model as a classifier: mechanics, not quality."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from classifiers.classifier import ClassifierError, Sample
from classifiers.embedded import Embedded, Limits, Network
from classifiers.labels import LABELS, ROLES
from classifiers.model import SHIPPED, Model, ModelError
from classifiers.tokens import CONTEXT, WINDOW

STORY = " ".join(f"the {i}th traveller crossed river number {i * 7}" for i in range(120))


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load()


@pytest.fixture
async def embedded(model: Model) -> AsyncIterator[Embedded]:
    embedded = Embedded(model)
    await embedded.start()
    yield embedded
    await embedded.close()


@pytest.mark.parametrize("sample", [Sample(STORY), Sample(STORY, "response", "who crossed?")], ids=lambda s: s.role)
def test_windows_of_a_long_text_cover_every_token(model: Model, sample: Sample) -> None:
    [windows] = Network(model).cut([sample])
    [tokens] = model.layout.encode([STORY])
    parts = [[i for i, judged in zip(w.ids, w.judged, strict=True) if judged] for w in windows]
    covered = 0
    for part in parts:
        start = next(s for s in range(covered, -1, -1) if tokens[s : s + len(part)] == part)
        covered = start + len(part)
    assert covered == len(tokens) > WINDOW
    assert all(len(part) == WINDOW for part in parts)


def test_an_empty_text_has_a_window(model: Model) -> None:
    [[window]] = Network(model).cut([Sample("")])
    assert sum(window.judged) == 0


def test_a_response_is_read_with_the_beginning_of_its_prompt(model: Model) -> None:
    [[window]] = Network(model).cut([Sample("yes", "response", STORY)])
    assert len(window.ids) == CONTEXT + len(["[CLS]", "mark", "[SEP]", "yes", "[SEP]"])
    assert window.segments == [0] * (CONTEXT + 3) + [1, 1]


async def test_a_role_is_scored_in_its_own_categories(embedded: Embedded) -> None:
    prompt, response = await embedded.classify([Sample("hello"), Sample("hello", "response", "say hello")])
    assert set(prompt) == {label for label in LABELS if ROLES.get(label) != "response"}
    assert set(response) == {label for label in LABELS if ROLES.get(label) != "prompt"}
    assert all(0.0 <= p <= 1.0 for p in (*prompt.values(), *response.values()))
    assert embedded.categories == set(LABELS)


async def test_a_text_has_the_same_scores_alone_and_in_company(embedded: Embedded, model: Model) -> None:
    samples = [Sample(f"question number {i}" * (i + 1)) for i in range(40)]
    together = await embedded.classify(samples)
    other = Embedded(model)
    await other.start()
    alone = [(await other.classify([s]))[0] for s in samples[:5]]
    await other.close()
    assert alone == together[:5]


async def test_a_lone_surrogate_is_a_sign_like_others(embedded: Embedded) -> None:
    assert await embedded.classify([Sample("a \ud800 b")]) == await embedded.classify([Sample("a ? b")])


async def test_scores_of_a_text_that_comes_again_are_remembered(embedded: Embedded) -> None:
    [first] = await embedded.classify([Sample("a turn of a conversation")])
    [again] = await embedded.classify([Sample("a turn of a conversation")])
    assert again is first


async def test_fifty_requests_at_once_are_all_answered(embedded: Embedded) -> None:
    asked = [embedded.classify([Sample(f"request {i}"), Sample("shared")]) for i in range(50)]
    found = await asyncio.gather(*asked)
    assert [len(scores) for scores in found] == [2] * 50
    assert embedded.waiting == 0


async def test_it_judges_nothing_before_start_and_after_close(model: Model) -> None:
    embedded = Embedded(model, Limits(windows=4))
    for _ in range(2):
        with pytest.raises(ClassifierError) as caught:
            await embedded.classify([Sample("hello")])
        assert caught.value.reason == "unavailable"
        await embedded.start()
        await embedded.close()


def copied(folder: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, folder / "model"))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_file_that_was_changed_is_refused(tmp_path: Path, name: str) -> None:
    folder = copied(tmp_path)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ModelError, match=rf"{name} has SHA-256 \w{{64}}, not \w{{64}}: install"):
        Model.load(folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = copied(tmp_path)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        Model.load(folder)


@pytest.mark.parametrize("text", ["", "{}", '{"name": "x", "calibration": []}'])
def test_a_model_json_that_says_too_little_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ModelError, match=r"model\.json cannot be read"):
        Model.load(tmp_path)
