"""Local Hugging Face models, with tiny random ones that are built here. Needs `wardgate[hf]`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from classifiers.classifier import ClassifierError, Sample
from classifiers.labels import LABELS
from classifiers.model import ModelError
from classifiers.transformer import BOTH, OVERLAP, PRESETS, PROMPT, Head, Transformer, padded, positions

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

POSITIONS = 32
WORDS = [f"w{i}" for i in range(200)]
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LONG = " ".join(WORDS)


def tokenizer() -> Any:
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(MARKS + WORDS)}, unk_token="[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), MARKS, strict=True))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=POSITIONS, **names)


def build(folder: Path, labels: list[str], **more: Any) -> Path:
    """A BERT with two layers of sixteen random numbers; the head is loud enough that windows differ."""
    torch.manual_seed(20)
    config = transformers.BertConfig(
        vocab_size=len(MARKS + WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=POSITIONS,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        **more,
    )
    model = transformers.BertForSequenceClassification(config)
    torch.nn.init.normal_(model.classifier.weight, std=3.0)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def choice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One label of three."""
    return build(tmp_path_factory.mktemp("choice"), ["BENIGN", "INJECTION", "JAILBREAK"])


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Any of three labels."""
    names = ["toxic", "threat", "identity_hate"]
    return build(tmp_path_factory.mktemp("many"), names, problem_type="multi_label_classification")


@pytest.fixture
async def guard(choice: Path) -> AsyncIterator[Transformer]:
    guard = Transformer.load(choice, {"INJECTION": "injection", "JAILBREAK": "jailbreak"}, "tiny")
    await guard.start()
    yield guard
    await guard.close()


async def scored(folder: Path, labels: Mapping[str, str], *texts: str) -> list[Mapping[str, float]]:
    guard = Transformer.load(folder, labels, "tiny")
    await guard.start()
    found = await guard.classify([Sample(t) for t in texts])
    await guard.close()
    return found


def reference(folder: Path, text: str) -> Any:
    """The logits of a short text, as transformers itself has them."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    given = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        return model(**given).logits[0]


async def test_probabilities_of_one_choice_are_transformers_own(guard: Transformer, choice: Path) -> None:
    [scores] = await guard.classify([Sample("w1 w2 w3")])
    _, injection, jailbreak = reference(choice, "w1 w2 w3").softmax(-1).tolist()
    assert scores == pytest.approx({"injection": injection, "jailbreak": jailbreak}, abs=1e-5)
    assert guard.categories == {"injection", "jailbreak"}
    assert guard.thresholds == {}


async def test_labels_of_one_category_add_up_where_one_is_chosen(choice: Path) -> None:
    [scores] = await scored(choice, {"INJECTION": "attack", "JAILBREAK": "attack"}, "w4 w5")
    assert scores == pytest.approx({"attack": reference(choice, "w4 w5").softmax(-1)[1:].sum().item()}, abs=1e-5)


async def test_labels_of_one_category_do_not_add_up_where_several_may_hold(many: Path) -> None:
    [scores] = await scored(many, {"toxic": "toxicity", "threat": "toxicity", "identity_hate": "hate"}, "w4 w5")
    toxic, threat, hate = reference(many, "w4 w5").sigmoid().tolist()
    assert scores == pytest.approx({"toxicity": max(toxic, threat), "hate": hate}, abs=1e-5)


async def test_a_single_output_is_a_yes_or_no(tmp_path: Path) -> None:
    folder = build(tmp_path, ["bad"])
    [scores] = await scored(folder, {"bad": "harm"}, "w7")
    assert scores == pytest.approx({"harm": reference(folder, "w7").sigmoid().item()}, abs=1e-5)


def test_windows_of_a_long_text_cover_every_token_and_overlap(guard: Transformer) -> None:
    [windows] = guard.network.cut([Sample(LONG)])
    words = [w.ids[1:-1] for w in windows]
    assert all(w.ids[0] == 2 and w.ids[-1] == 3 and len(w.ids) <= POSITIONS for w in windows)
    assert {i for ids in words for i in ids} == set(range(len(MARKS), len(MARKS + WORDS)))
    overlap = min(OVERLAP, (POSITIONS - 2) // 4)
    assert all(one[-overlap:] == two[:overlap] for one, two in pairwise(words))


async def test_a_long_text_scores_as_its_worst_window(guard: Transformer) -> None:
    [windows] = guard.network.cut([Sample(LONG)])
    parts = [Sample(" ".join(WORDS[w.ids[1] - len(MARKS) : w.ids[-2] - len(MARKS) + 1])) for w in windows]
    [whole] = await guard.classify([Sample(LONG)])
    found = await guard.classify(parts)
    assert whole == pytest.approx({c: max(s[c] for s in found) for c in whole}, abs=1e-5)


async def test_the_end_of_a_long_text_counts(guard: Transformer) -> None:
    one, two = await guard.classify([Sample(LONG + " w1" * 20), Sample(LONG + " w150" * 20)])
    assert one != two


async def test_padding_does_not_change_scores(guard: Transformer) -> None:
    texts = [" ".join(WORDS[i : i + 1 + i % 9]) for i in range(50)]
    together = await guard.classify([Sample(t) for t in texts])
    asked = await asyncio.gather(*(guard.classify([Sample(t + " ")]) for t in texts))
    for one, [other] in zip(together, asked, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("text", ["", " ", "\n", "not a word of it knows", "W1"])
async def test_texts_without_known_words_have_scores(guard: Transformer, text: str) -> None:
    [scores] = await guard.classify([Sample(text)])
    assert set(scores) == guard.categories


async def test_samples_of_other_roles_have_no_scores(choice: Path) -> None:
    guard = Transformer.load(choice, {"INJECTION": "injection"}, "tiny", roles=PROMPT)
    await guard.start()
    samples = [Sample("w1", "response"), Sample("w1"), Sample("w2", "response"), Sample("w2")]
    found = await guard.classify(samples)
    await guard.close()
    assert [set(scores) for scores in found] == [set(), {"injection"}, set(), {"injection"}]
    assert found[1] != found[3]


async def test_a_model_without_padding_runs_its_windows_one_by_one(tmp_path: Path) -> None:
    config = transformers.GPT2Config(
        vocab_size=len(MARKS + WORDS), n_positions=POSITIONS, n_embd=16, n_layer=1, n_head=2, pad_token_id=None
    )
    transformers.GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    texts = ["w1", LONG, ""]
    found = await scored(tmp_path, {"LABEL_1": "harm"}, *texts)
    alone = [(await scored(tmp_path, {"LABEL_1": "harm"}, t))[0] for t in texts]
    assert found == [pytest.approx(s, abs=1e-5) for s in alone]


def test_roberta_counts_positions_from_behind_the_padding() -> None:
    config = transformers.RobertaConfig(
        vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, max_position_embeddings=34
    )
    assert positions(transformers.RobertaForSequenceClassification(config)) == 32


async def test_it_judges_nothing_before_start(choice: Path) -> None:
    guard = Transformer.load(choice, {"INJECTION": "injection"}, "tiny")
    with pytest.raises(ClassifierError) as caught:
        await guard.classify([Sample("w1")])
    assert caught.value.reason == "unavailable"


def test_the_version_is_of_the_files_and_of_the_labels(choice: Path, tmp_path: Path) -> None:
    names = ["BENIGN", "INJECTION", "JAILBREAK"]
    same, other = build(tmp_path / "same", names), build(tmp_path / "other", names, hidden_act="relu")
    labels = {"INJECTION": "injection"}
    first = Transformer.load(choice, labels, "tiny").version
    assert Transformer.load(same, labels, "tiny").version == first
    assert Transformer.load(other, labels, "tiny").version != first
    assert Transformer.load(choice, {"INJECTION": "harm"}, "tiny").version != first


def test_a_label_that_the_model_lacks_is_refused(choice: Path) -> None:
    with pytest.raises(ModelError, match="no label MALICIOUS: it has BENIGN, INJECTION, JAILBREAK"):
        Transformer.load(choice, {"MALICIOUS": "injection"}, "tiny")


def test_an_encoder_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=len(MARKS + WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no trained weights for classifier\.bias, classifier\.weight"):
        Transformer.load(tmp_path, {"LABEL_1": "harm"}, "tiny")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        Transformer.load(tmp_path, {"LABEL_1": "harm"}, "tiny")


def test_a_regression_is_refused(tmp_path: Path) -> None:
    folder = build(tmp_path, ["bad"], problem_type="regression")
    with pytest.raises(ModelError, match="regression"):
        Transformer.load(folder, {"bad": "harm"}, "tiny")


def test_presets_map_to_our_categories_and_roles() -> None:
    for preset in PRESETS.values():
        assert set(preset.labels.values()) <= set(LABELS)
        assert preset.roles <= BOTH


def test_sums_of_probabilities_stay_probabilities() -> None:
    head = Head({"all": (0, 1, 2)}, independent=False)
    assert head.scores(np.array([[9.0, 0.1, -300.0], [0.3, 0.3, 0.3]], dtype=np.float32)) == {"all": 1.0}


def test_padding_fills_the_right_side() -> None:
    assert padded([[1], [2, 3]], 9).tolist() == [[1, 9], [2, 3]]
