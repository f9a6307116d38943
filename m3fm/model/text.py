"""Text transformer and its tokenizer (paper, Methods: Text transformer; Fig. 8d)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn

from m3fm.config.model import TextConfig
from m3fm.core.errors import InputError
from m3fm.core.files import read_json
from m3fm.core.tokens import PAD
from m3fm.model.weights import listed

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""RoBERTa's special tokens, in its order: padding has id 1. The first token is the paper's <TASK>."""


VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
"""Files by which a directory holds a tokenizer."""


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Train a byte-level BPE tokenizer like RoBERTa's on the texts; digits stay single.

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
    """Load the tokenizer of a directory: `tokenizer.json`, `vocab.json` with `merges.txt`, or transformers'.

    The second are taken for RoBERTa's. Raises InputError where the directory holds none.
    """
    with _refused(f"{directory} holds no tokenizer; set model.text.tokenizer to a directory of one"):
        if (directory / "tokenizer.json").is_file():
            return Tokenizer.from_file(str(directory / "tokenizer.json"))
        if (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file():
            files = str(directory / "vocab.json"), str(directory / "merges.txt")
            tokenizer = Tokenizer(models.BPE.from_file(*files))
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder = decoders.ByteLevel()
            return with_markers(tokenizer)
        if not _has_tokenizer(directory):
            raise InputError(f"none of {', '.join(VOCABULARIES)}")  # transformers would make an empty one
        from transformers import AutoTokenizer

        fast = AutoTokenizer.from_pretrained(directory, local_files_only=True, use_fast=True)
        backend: Tokenizer = fast.backend_tokenizer
        return backend


def tokenizer_for(text: TextConfig, sentences: Callable[[], Iterable[str]]) -> Tokenizer:
    """Load the configured tokenizer, or else the pretrained encoder's own; without either, train one.

    Raises InputError where a pretrained encoder has no tokenizer, or another one than is configured: its
    weights would be those of other words. Raises InputError where the encoder has too few embeddings.
    """
    given, pretrained = text.tokenizer, text.pretrained
    if pretrained is None:
        tokenizer = train_tokenizer(sentences(), text.vocabulary) if given is None else load_tokenizer(given)
    elif given is None:
        tokenizer = load_tokenizer(pretrained)
    else:
        tokenizer = load_tokenizer(given)
        if _has_tokenizer(pretrained) and load_tokenizer(pretrained).get_vocab() != tokenizer.get_vocab():
            raise InputError(
                f"the tokenizer in {given} is not that of the encoder in {pretrained}; leave out"
                " model.text.tokenizer"
            )
    embeddings = encoder_config(text).get("vocab_size")
    if isinstance(embeddings, int) and tokenizer.get_vocab_size() > embeddings:
        raise InputError(
            f"the tokenizer has {tokenizer.get_vocab_size()} tokens and the text encoder embeds {embeddings};"
            " set model.text.tokenizer to the encoder's own"
        )
    return tokenizer


def _has_tokenizer(directory: Path) -> bool:
    return any((directory / name).is_file() for name in VOCABULARIES)


def encoder_config(text: TextConfig) -> dict[str, Any]:
    """Return the text encoder's configuration in the form that `transformers` gives it.

    Raises InputError where `pretrained` is not a directory of one.
    """
    if text.encoder is not None:
        return text.encoder
    if text.pretrained is not None:
        try:
            found: dict[str, Any] = read_json(text.pretrained / "config.json")
        except InputError as error:
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


HEADS_OF_PRETRAINING = ("pooler.", "lm_head.", "cls.", "vocab_")
"""Beginnings of names of weights that a file may have or lack: of the guesses that an encoder learnt from."""


class TextTransformer(nn.Module):
    """A text encoder of `transformers`: RoBERTa unless the configuration says otherwise.

    Nothing is downloaded. Raises InputError where configuration or weights are not those of an encoder that
    sees a text from both sides, or it has fewer positions than the longest text needs.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.encoder = _load_encoder(config)
        self.encoder.pooler = None  # of the token that the task encoder reads, it would be a head of its own
        _check_positions(self.encoder, config)

    @property
    def width(self) -> int:
        """Width of the tokens it gives."""
        return int(self.encoder.config.hidden_size)

    def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Encode token ids and mask [B, L] as features [B, L, width]."""
        return self.encoder(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state


def _load_encoder(text: TextConfig) -> Any:
    """Load the encoder in float32, however it was saved; from a directory, each of its weights is set."""
    # Three seconds to import, which pretraining has no use for.
    from transformers import AutoConfig, AutoModel

    given, pretrained = encoder_config(text), text.pretrained
    said = "text.encoder is not a configuration" if pretrained is None else f"{pretrained} holds no encoder"
    with _refused(f"{said} of transformers"):
        architecture = AutoConfig.for_model(**given)
    _check_bidirectional(architecture, "text.encoder" if pretrained is None else str(pretrained))
    with _refused(f"{said} of transformers"):
        if pretrained is None:
            return AutoModel.from_config(architecture, dtype=torch.float32)
        encoder, found = AutoModel.from_pretrained(
            pretrained, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    problems = {"lacks": found["missing_keys"], "has no use for": found["unexpected_keys"]}
    for what, names in problems.items():
        if others := sorted(name for name in names if not name.startswith(HEADS_OF_PRETRAINING)):
            raise InputError(f"{pretrained} does not fit its config.json: it {what} {listed(others)}")
    return encoder


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Turn into InputError whatever transformers and tokenizers raise; they have no error of their own."""
    try:
        yield
    except Exception as error:
        raise InputError(f"{what}: {first_sentence(error)}") from error


def _check_bidirectional(architecture: Any, source: str) -> None:
    """Refuse other encoders than of text, and those that see only the words before (<s> comes first)."""
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    decoder = any(
        getattr(architecture, kind, False) for kind in ("is_encoder_decoder", "is_decoder", "causal")
    )
    if decoder or type(architecture) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise InputError(
            f"{source} is a {architecture.model_type}, no encoder of text that sees the words on both sides: "
            "take one that was made to guess masked words, as roberta, bert, or distilbert"
        )


def _check_positions(encoder: nn.Module, text: TextConfig) -> None:
    """Refuse too few position embeddings, where there are any; RoBERTa counts them from after the padding."""
    longest = max(text.max_tokens, text.max_question_tokens)
    for name, table in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(table, nn.Embedding):
            room = table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
            if room < longest:
                raise InputError(
                    f"the text encoder has positions for {room} tokens, and texts have up to {longest}: "
                    "set text.max_tokens and text.max_question_tokens"
                )


def first_sentence(error: Exception) -> str:
    """Return the message of a transformers error, without the pages of help that follow."""
    text = str(error).strip().replace(":\n", ": ")
    return " ".join(text.partition("\n")[0].partition(". ")[0].split())
