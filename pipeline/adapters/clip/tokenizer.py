"""Reads a CLIP checkpoint's tokenizer and checks it against the text tower. Needs no weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoTokenizer

from pipeline.adapters.clip.checkpoint import Checkpoint, first_line
from pipeline.adapters.clip.config import LIBRARY_ERRORS, read_config
from pipeline.errors import Halt
from pipeline.ports import PromptTokens

PROBE_PROMPT = "a photo"

LEGACY_EOS_TOKEN_ID = 2
"""Configurations from before transformers' PR 24773 have this id. The text tower then takes a
prompt's highest token id for its end."""


def read_tokens(checkpoint: Checkpoint) -> PromptTokens:
    """How the checkpoint's model reads prompts. Weights are not read.

    Raises:
        Halt: ``model.unsupported``: a worker would not accept the tokenizer.
    """
    return read_tokenizer(checkpoint, read_config(checkpoint).text_config)


def read_tokenizer(checkpoint: Checkpoint, text: Any) -> PromptTokens:
    """``text`` is the text tower's configuration.

    Raises:
        Halt: ``model.unsupported``: the tokenizer cannot be loaded, or belongs to another tower.
    """
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            checkpoint.directory, local_files_only=True, trust_remote_code=False
        )
        ids = list(tokenizer(PROBE_PROMPT)["input_ids"])
        highest = max(*ids, *tokenizer.get_vocab().values())
    except LIBRARY_ERRORS as error:
        raise Halt(
            "model.unsupported",
            f"model {checkpoint}: transformers cannot load its tokenizer "
            f"({type(error).__name__}: {first_line(error)}); save the tokenizer again",
        ) from error
    # On CUDA an id beyond the table would make the device unusable.
    if highest >= text.vocab_size:
        raise Halt(
            "model.unsupported",
            f"model {checkpoint}: the tokenizer's highest id is {highest} and the text tower "
            f"reads up to {text.vocab_size - 1}; give the tokenizer it was trained with",
        )
    end = highest if text.eos_token_id == LEGACY_EOS_TOKEN_ID else text.eos_token_id
    if end not in ids or ids.index(end) != len(ids) - 1:
        raise Halt(
            "model.unsupported",
            f"model {checkpoint}: prompts do not end with the text tower's end token ({end}); "
            "give the tokenizer it was trained with",
        )

    def tokenize(prompts: Sequence[str]) -> list[list[int]]:
        rows: list[list[int]] = tokenizer(list(prompts))["input_ids"]
        return rows

    return PromptTokens(tokenize, int(text.max_position_embeddings))
