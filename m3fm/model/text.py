"""Text transformer and its tokenizer (paper, Methods: Text transformer; Fig. 8d)."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn

from m3fm.config import TextConfig
from m3fm.errors import InputError
from m3fm.tokens import PAD

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""RoBERTa's special tokens, in its order: padding has id 1. The first token is the paper's <TASK>."""


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE tokenizer like RoBERTa's, learnt from the texts; digits stay single.

    Unlike RoBERTa's it takes no notice of case, nor of whether a word begins the text: the few texts that it
    and the model learn from do not teach them that "Emphysema" and "emphysema" are one word.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.ByteLevel(add_prefix_space=True), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return with_markers(tokenizer)


def with_markers(tokenizer: Tokenizer) -> Tokenizer:
    """Make the tokenizer put <s> before and </s> after a text, as RoBERTa does."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def load_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of a directory: `tokenizer.json`, `vocab.json` with `merges.txt`, or of transformers.

    The second are taken for RoBERTa's. Raises InputError where the directory holds none.
    """
    if (directory / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(directory / "tokenizer.json"))
    if (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file():
        files = str(directory / "vocab.json"), str(directory / "merges.txt")
        tokenizer = Tokenizer(models.BPE.from_file(*files))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        return with_markers(tokenizer)
    from transformers import AutoTokenizer

    try:
        fast = AutoTokenizer.from_pretrained(directory, local_files_only=True, use_fast=True)
        backend: Tokenizer = fast.backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{directory} holds no tokenizer: {first_sentence(error)}") from error
    return backend


def encoder_config(text: TextConfig) -> dict[str, Any]:
    """The configuration of the text encoder in the form that `transformers` gives it.

    Raises InputError where `pretrained` is no directory of one.
    """
    if text.encoder is not None:
        return text.encoder
    if text.pretrained is not None:
        try:
            found: dict[str, Any] = json.loads((text.pretrained / "config.json").read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{text.pretrained} holds no encoder of transformers: {error}") from error
        return found
    return {
        "model_type": "roberta",
        "vocab_size": text.vocabulary,
        "hidden_size": text.width,
        "num_hidden_layers": text.depth,
        "num_attention_heads": text.heads,
        "intermediate_size": 4 * text.width,
        "max_position_embeddings": text.positions,
        "type_vocab_size": 1,
        "hidden_dropout_prob": text.dropout,
        "attention_probs_dropout_prob": text.dropout,
        "layer_norm_eps": 1e-5,
        "pad_token_id": PAD,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }


class TextTransformer(nn.Module):
    """A text encoder of `transformers`: RoBERTa unless the configuration says otherwise.

    Nothing is downloaded. Raises InputError where the configuration is none that `transformers` knows.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        # Three seconds to import, which pretraining has no use for.
        from transformers import AutoConfig, AutoModel

        architecture = encoder_config(config)
        if config.pretrained is not None:
            self.encoder = AutoModel.from_pretrained(config.pretrained, local_files_only=True)
        else:
            try:
                self.encoder = AutoModel.from_config(AutoConfig.for_model(**architecture))
            except (ValueError, TypeError) as error:
                raise InputError(
                    f"text.encoder is no configuration of transformers: {first_sentence(error)}"
                ) from error
        self.encoder.pooler = None  # of the token that the task encoder reads, it would be a head of its own

    @property
    def width(self) -> int:
        """Width of the tokens it gives."""
        return int(self.encoder.config.hidden_size)

    def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Token ids and mask [B, L] to features [B, L, width]."""
        return self.encoder(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state


def first_sentence(error: Exception) -> str:
    """What an error of transformers says, without the pages of help that follow."""
    return str(error).strip().partition("\n")[0].partition(". ")[0]
