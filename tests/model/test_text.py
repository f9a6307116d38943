"""The text transformer: RoBERTa, or any other encoder, from a directory or a configuration; no download."""

import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaModel,
)

from m3fm.config.model import TextConfig
from m3fm.config.presets import preset
from m3fm.core.errors import InputError
from m3fm.core.tokens import encode
from m3fm.model.checkpoint import load_model, save_model
from m3fm.model.m3fm import M3FM
from m3fm.model.text import TextTransformer, load_tokenizer, tokenizer_for, train_tokenizer

ROBERTA = Path(__file__).parents[3] / "shared" / "data" / "roberta-base"
TINY = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
IDS = torch.tensor([[0, 7, 8, 9, 2], [0, 7, 2, 1, 1]])
MASK = (IDS != 1).long()


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_weights_of_a_directory_are_taken_and_go_into_the_checkpoint(tmp_path):
    torch.manual_seed(0)
    theirs = RobertaModel(RobertaConfig(vocab_size=1000, max_position_embeddings=514, pad_token_id=1, **TINY))
    theirs.eval().save_pretrained(tmp_path / "roberta")
    expected = theirs(input_ids=IDS, attention_mask=MASK).last_hidden_state
    text = TextConfig(pretrained=tmp_path / "roberta")
    model = M3FM(preset("tiny").model.model_copy(update={"text": text})).eval()
    torch.testing.assert_close(model.text(IDS, MASK), expected)

    save_model(model, tmp_path / "checkpoint")
    for path in (tmp_path / "roberta").iterdir():
        path.unlink()
    again = load_model(tmp_path / "checkpoint")
    torch.testing.assert_close(again.text(IDS, MASK), expected)
    assert str(tmp_path) not in (tmp_path / "checkpoint" / "config.json").read_text()


@pytest.mark.parametrize(
    "encoder",
    [
        BertConfig(vocab_size=300, **TINY).to_dict(),
        DistilBertConfig(vocab_size=300, dim=48, n_layers=2, n_heads=2, hidden_dim=96).to_dict(),
        {"model_type": "roberta", "vocab_size": 300, "pad_token_id": 1, **TINY},
    ],
    ids=lambda encoder: encoder["model_type"],
)
def test_any_encoder_by_configuration(encoder, tmp_path):
    config = preset("tiny").model.model_copy(update={"text": TextConfig(encoder=encoder)})
    model = M3FM(config).eval()
    asked = {"question_ids": IDS, "question_mask": MASK, "text_ids": IDS, "text_mask": MASK}
    answer = model.predict("lung_rads", **asked)
    assert answer.shape == (2, 4)
    model.predict("lung_rads", **asked)
    save_model(model, tmp_path)
    torch.testing.assert_close(load_model(tmp_path).predict("lung_rads", **asked), answer)
    assert not [name for name, _ in model.named_parameters() if "pooler" in name]


def test_a_directory_or_configuration_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no encoder of transformers"):
        TextTransformer(TextConfig(pretrained=tmp_path))
    with pytest.raises(InputError, match=r"text\.encoder is not a configuration"):
        TextTransformer(TextConfig(encoder={"model_type": "no-such-thing"}))
    with pytest.raises(InputError, match=r"text\.encoder is not a configuration"):
        TextTransformer(TextConfig(encoder={"hidden_size": 48}))
    with pytest.raises(InputError, match=r"hidden_size.* expected int, got str"):
        TextTransformer(TextConfig(encoder={"model_type": "roberta", "hidden_size": "x"}))
    with pytest.raises(InputError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version"')
    with pytest.raises(InputError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)


ROBERTA_TINY = RobertaConfig(vocab_size=300, max_position_embeddings=170, pad_token_id=1, **TINY)
DISTILBERT_TINY = DistilBertConfig(vocab_size=300, dim=48, n_layers=2, n_heads=2, hidden_dim=96)


@pytest.mark.parametrize(
    "theirs",
    [RobertaForMaskedLM(ROBERTA_TINY), DistilBertForMaskedLM(DISTILBERT_TINY)],
    ids=["roberta", "distilbert"],
)
def test_weights_in_half_precision_with_a_head_are_taken_in_float32(theirs, tmp_path):
    theirs.half().save_pretrained(tmp_path)
    encoder = TextTransformer(TextConfig(pretrained=tmp_path)).eval()
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    expected = theirs.float().eval().base_model(input_ids=IDS, attention_mask=MASK).last_hidden_state
    torch.testing.assert_close(encoder(IDS, MASK), expected)


def test_weights_that_do_not_fit_are_named(tmp_path):
    RobertaModel(ROBERTA_TINY).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    whole, content = load_file(file), file.read_bytes()
    name = "encoder.layer.0.output.dense.weight"
    less = {key: tensor for key, tensor in whole.items() if key != name}
    for changed, said in (
        (less, f"lacks {name}"),
        ({**whole, "junk": torch.ones(2)}, "no use for junk"),
        ({**whole, name: torch.ones(2, 2)}, str(tmp_path)),
    ):
        save_file(changed, file, metadata={"format": "pt"})
        with pytest.raises(InputError, match=said):
            TextTransformer(TextConfig(pretrained=tmp_path))
    for damaged in (content[: len(content) // 2], b""):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="holds no encoder of transformers"):
            TextTransformer(TextConfig(pretrained=tmp_path))
    file.unlink()
    for _ in range(2):
        with pytest.raises(InputError, match="holds no encoder of transformers"):
            TextTransformer(TextConfig(pretrained=tmp_path))
        (tmp_path / "config.json").write_text('{"model_type": "roberta", "hidden_size": "wide"}')


@pytest.mark.parametrize(
    "encoder",
    [
        {"model_type": "gpt2"},
        {"model_type": "t5"},
        {"model_type": "bart"},
        {"model_type": "vit"},
        {"model_type": "clip"},
        {"model_type": "roberta", "is_decoder": True},
        {"model_type": "xlm", "causal": True},
    ],
    ids=lambda encoder: encoder["model_type"],
)
def test_what_does_not_see_both_sides_of_a_word_is_refused(encoder):
    """A question's first token would see nothing of the question: every question would be the same."""
    with pytest.raises(InputError, match=f"is a {encoder['model_type']}, no encoder of text that sees"):
        TextTransformer(TextConfig(encoder=encoder))


def test_an_encoder_with_too_few_positions_is_refused(tmp_path):
    RobertaModel(
        RobertaConfig(vocab_size=300, max_position_embeddings=52, pad_token_id=1, **TINY)
    ).save_pretrained(tmp_path)
    for source in (
        {"pretrained": tmp_path},
        {"encoder": {"model_type": "bert", "max_position_embeddings": 50, **TINY}},
    ):
        with pytest.raises(InputError, match="positions for 50 tokens, and texts have up to 51"):
            TextTransformer(TextConfig(max_tokens=51, **source))
        assert TextTransformer(TextConfig(max_tokens=50, **source)).width == 48


def test_positions_must_hold_the_longest_text():
    with pytest.raises(ValueError, match="texts of 160 tokens need 162"):
        TextConfig(positions=161)


def test_tokenizer_of_roberta():
    if not ROBERTA.is_dir():
        pytest.skip(f"{ROBERTA.name}, RoBERTa's vocabulary, is not beside the repository")
    from transformers import RobertaTokenizerFast

    ours = load_tokenizer(ROBERTA)
    theirs = RobertaTokenizerFast(str(ROBERTA / "vocab.json"), str(ROBERTA / "merges.txt"))
    texts = ["The patient is 56.0 years old. Gender is Female.", "Is there any lung nodule?", "a  b\n\u00e9"]
    for text in texts:
        assert ours.encode(text).ids == theirs(text)["input_ids"]
    ids, mask = encode(ours, texts, 160)
    padded = theirs(texts, padding=True)
    assert ids.tolist() == padded["input_ids"]
    assert mask.tolist() == padded["attention_mask"]


@pytest.fixture
def saved(tmp_path) -> Path:
    """A tiny BERT and its tokenizer, as transformers saves them."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "lung", "##s", "?"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "saved")
    config = BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    BertModel(config).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def train_none():
    raise AssertionError("a tokenizer is trained")


def test_a_pretrained_encoder_has_its_own_tokenizer(saved):
    own = load_tokenizer(saved)
    for given in (None, saved):
        found = tokenizer_for(TextConfig(pretrained=saved, tokenizer=given), train_none)
        assert found.get_vocab() == own.get_vocab()


def test_a_pretrained_encoder_without_a_tokenizer_is_refused(saved):
    for file in [*saved.glob("tokenizer*"), *saved.glob("vocab*"), *saved.glob("special*")]:
        file.unlink()
    with pytest.raises(InputError, match=f"{saved} holds no tokenizer; set model.text.tokenizer"):
        tokenizer_for(TextConfig(pretrained=saved), train_none)


def test_another_tokenizer_than_the_pretrained_encoder_s_is_refused(saved, tmp_path):
    train_tokenizer(["a lung"], 262).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="is not that of the encoder in"):
        tokenizer_for(TextConfig(pretrained=saved, tokenizer=tmp_path), train_none)


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(saved, tmp_path):
    train_tokenizer(["a lung"], 262).save(str(tmp_path / "tokenizer.json"))
    given = BertConfig(vocab_size=100, hidden_size=8, num_attention_heads=1).to_dict()
    with pytest.raises(InputError, match="tokens and the text encoder embeds 100"):
        tokenizer_for(TextConfig(encoder=given, tokenizer=tmp_path), train_none)


def test_tokenizer_of_another_encoder(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "lung", "##s", "?"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    fast = BertTokenizerFast(str(tmp_path / "vocab.txt"))
    fast.save_pretrained(tmp_path / "saved")
    tokenizer = load_tokenizer(tmp_path / "saved")
    assert tokenizer.encode("the lungs?").tokens == ["[CLS]", "the", "lung", "##s", "?", "[SEP]"]
    (tmp_path / "saved" / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").rename(tmp_path / "saved" / "vocab.txt")
    again = load_tokenizer(tmp_path / "saved")
    assert again.encode("the lungs?").ids == tokenizer.encode("the lungs?").ids


def test_a_text_that_is_cut_keeps_its_end_or_not():
    tokenizer = train_tokenizer(["The patient is 56.0 years old."] * 3, 300)
    whole = tokenizer.encode("The patient is 56.0 years old.").ids
    closed, _ = encode(tokenizer, ["The patient is 56.0 years old."], 6)
    cut, mask = encode(tokenizer, ["The patient is 56.0 years old."], 6, close_truncated=False)
    assert closed[0].tolist() == [*whole[:5], 2]
    assert cut[0].tolist() == whole[:6]
    assert mask.all()


def test_pooler_of_bert_is_not_kept(tmp_path):
    BertModel(BertConfig(vocab_size=300, **TINY)).save_pretrained(tmp_path)
    assert not [
        name for name in TextTransformer(TextConfig(pretrained=tmp_path)).state_dict() if "pool" in name
    ]
