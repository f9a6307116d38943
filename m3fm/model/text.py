"""Text transformer and its tokenizer (paper, Methods: Text transformer; Fig. 8d)."""

from collections.abc import Iterable
from pathlib import Path

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
    """A tokenizer directory: `tokenizer.json`, or RoBERTa's `vocab.json` and `merges.txt`."""
    if (directory / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(directory / "tokenizer.json"))
    if (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file():
        files = str(directory / "vocab.json"), str(directory / "merges.txt")
        tokenizer = Tokenizer(models.BPE.from_file(*files))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        return with_markers(tokenizer)
    raise InputError(f"{directory} holds no tokenizer.json, nor vocab.json and merges.txt: name a tokenizer")


class TextTransformer(nn.Module):
    """A text encoder of `transformers`; RoBERTa unless a directory of other weights is named."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        # Three seconds to import, which pretraining has no use for.
        from transformers import AutoModel, RobertaConfig, RobertaModel

        if config.pretrained is not None:
            self.encoder = AutoModel.from_pretrained(
                config.pretrained, local_files_only=True, add_pooling_layer=False
            )
        else:
            self.encoder = RobertaModel(
                RobertaConfig(
                    vocab_size=config.vocabulary,
                    hidden_size=config.width,
                    num_hidden_layers=config.depth,
                    num_attention_heads=config.heads,
                    intermediate_size=4 * config.width,
                    max_position_embeddings=max(config.max_tokens, config.max_question_tokens) + PAD + 1,
                    type_vocab_size=1,
                    hidden_dropout_prob=config.dropout,
                    attention_probs_dropout_prob=config.dropout,
                    layer_norm_eps=1e-5,
                    pad_token_id=PAD,
                    bos_token_id=0,
                    eos_token_id=2,
                ),
                add_pooling_layer=False,
            )

    @property
    def width(self) -> int:
        """Width of the tokens it gives."""
        return int(self.encoder.config.hidden_size)

    def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Token ids and mask [B, L] to features [B, L, width]."""
        return self.encoder(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
