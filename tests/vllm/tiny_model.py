"""Builds the model that `make test-vllm` serves: a Llama of 165,000 random weights, its tokenizer and its template.

Runs on the Python of `.venv-vllm` (`python tiny_model.py FOLDER`), since only that one has transformers. It speaks
nonsense, but in the shape of a real model: what must be said is forced with `structured_outputs`.
"""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 20
VOCABULARY = 640
CONTEXT = 131072
PAD, START, END = SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TOOL_MARKS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

CORPUS = """
A gateway stands between an application and the model that answers it. The application sends its question, and the
gateway reads it first: every message, every part of a message, the results of tools as well. What the owner of the
model has asked for is put before the words of the client. Then the question travels on, and the answer comes back in
small pieces, one after another, while the model is still thinking of the next one.
Every piece is read before it leaves. A telephone number such as 555 0134, an address such as someone@example.com, the
key to a cloud: these are taken out, and a short label stands in their place. Where the whole answer must not be given,
the stream ends with a polite refusal, and the model is told to stop, because nobody will read what it would have said.
People look at the rest. They see what was asked, what was answered and what the guards thought of it, and they decide.
Their decisions go back to the thresholds, so that the guards get better with time. Nothing that was flagged is lost,
not when the power fails, not when the disk is full, and not when two people press the same button at the same moment.
{"name": "weather", "arguments": {"city": "Lisbon", "unit": "celsius", "days": 3, "detailed": true}}
{"answer": "yes", "score": 0.75, "tags": ["short", "calm", "clear"], "next": null, "done": false}
Émile naïvely asked for a café crème; Grüße aus Köln; Ελλάδα; Привет, мир; 你好，世界; こんにちは; 🙂🚀
"""

CHAT_TEMPLATE = r"""
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- '# Tools\n<tools>' }}
    {%- for tool in tools %}{{- '\n' + (tool | tojson) }}{%- endfor %}
    {{- '\n</tools>\nCall a function as <tool_call>\n{"name": ..., "arguments": ...}\n</tool_call><|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
    {%- elif not (message.role == 'system' and loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + (message.content or '') }}
        {%- for call in message.tool_calls or [] %}
            {{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
""".strip()


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE: random output holds half characters and strange bytes too, as a real stream may."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(TOOL_MARKS),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS.splitlines(keepends=True), trainer)
    # The marks of a tool call are one token each but not special, else vLLM would drop them from the text.
    bpe.add_tokens([AddedToken(mark, normalized=False) for mark in TOOL_MARKS])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def model(words: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    llama = LlamaForCausalLM(config)
    llama.generation_config = GenerationConfig(eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id)
    return llama


def build(folder: Path) -> None:
    words = tokenizer()
    words.save_pretrained(folder)
    model(words).save_pretrained(folder)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
