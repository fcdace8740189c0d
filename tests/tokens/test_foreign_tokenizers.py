"""Tokenizers that others saved: what `tokenize` takes also trains, evaluates, exports and generates; the rest is an
error before training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

pytest.importorskip("tokenizers")
pytest.importorskip("pydantic")
transformers = pytest.importorskip("transformers")

import torch  # noqa: E402
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors  # noqa: E402

from smolfast.config import EvaluateConfig, GenerateConfig, TrainConfig  # noqa: E402
from smolfast.errors import SmolfastError  # noqa: E402
from smolfast.evaluate.bits_per_byte import evaluate  # noqa: E402
from smolfast.model.export import export  # noqa: E402
from smolfast.model.generate import complete  # noqa: E402
from smolfast.model.network import PackedBatch, SmolLM  # noqa: E402
from smolfast.model.pretrained import load_pretrained, save_pretrained  # noqa: E402
from smolfast.tokens.chat.chat_tokens import encode_conversation  # noqa: E402
from smolfast.tokens.files import TokenFile, tokenize  # noqa: E402
from smolfast.tokens.tokenizer_folder import SPLIT_PATTERN, open_tokenizer  # noqa: E402
from smolfast.train.loop import train  # noqa: E402
from tiny_models import least  # noqa: E402

TEXTS = ["the cat sat on the mat", "Naïve dogs </s> bark, 123 times", "the end of <s> it all  twice"] * 8
SHAPE = least(max_position_embeddings=32, mtp_heads=1)
STEPS = TrainConfig(steps=2, sequence_length=8, batch_size=2, micro_batch_size=2, evaluate_every=0, mtp_weights=[1.0])
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
CHARACTERS = sorted({character for text in TEXTS for character in text} - {" "})


def byte_level(extra: dict[str, int] | None = None, special: tuple[str, ...] = ("<|endoftext|>",)) -> Tokenizer:
    """GPT-2's kind, without merges."""
    vocab = {character: index for index, character in enumerate(ALPHABET)} | (extra or {})
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def llama3() -> Tokenizer:
    tokenizer = byte_level({"Ġt": 256, "Ġthe": 257}, ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 258)]
    )
    return tokenizer


def llama2() -> Tokenizer:
    """SentencePiece's BPE: a blank is a character, bytes stand in for unknown ones."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *CHARACTERS]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def unigram() -> Tokenizer:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁the", -3.0)]
    tokenizer = Tokenizer(models.Unigram([*pieces, *((c, -5.0) for c in CHARACTERS if c != "ï")], unk_id=2))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def word_piece() -> Tokenizer:
    lower = sorted({character.lower() for character in CHARACTERS if character != "ï"})
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", *lower, *("##" + character for character in lower)]
    vocab = {piece: index for index, piece in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return tokenizer


def word_level() -> Tokenizer:
    words = sorted({word for text in TEXTS for word in text.split()} - {"</s>", "bark,"})
    names = ["[UNK]", "</s>", *words]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["[UNK]", "</s>"])
    return tokenizer


def with_truncation() -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64, pad_id=256, pad_token="<|endoftext|>")
    return tokenizer


def with_added_words() -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.add_tokens(["mat", AddedToken("cat", rstrip=True)])
    return tokenizer


def bare(tokenizer: Tokenizer, folder: Path, names: dict[str, str]) -> None:
    """tokenizer.json alone, and what it needs to know the end of a document."""
    tokenizer.save(str(folder / "tokenizer.json"))
    if names:
        (folder / "tokenizer_config.json").write_text(json.dumps(names))


def by_transformers(tokenizer: Tokenizer, folder: Path, names: dict[str, str]) -> None:
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    assert not (folder / "special_tokens_map.json").exists()


def legacy(tokenizer: Tokenizer, folder: Path, names: dict[str, str]) -> None:
    """As transformers 4 wrote it: another class, a map with objects, the added tokens twice more."""
    tokenizer.save(str(folder / "tokenizer.json"))
    added = json.loads(tokenizer.to_str())["added_tokens"]
    tokens = {key: {"content": name, "lstrip": False, "special": True} for key, name in names.items()}
    decoder = {str(token["id"]): {key: token[key] for key in token if key != "id"} for token in added}
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens))
    (folder / "added_tokens.json").write_text(json.dumps({token["content"]: token["id"] for token in added}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "LlamaTokenizer", "added_tokens_decoder": decoder, "add_bos_token": True, **names}
        )
    )


KINDS: dict[str, tuple[Callable[[], Tokenizer], dict[str, str]]] = {
    "byte-level": (byte_level, {}),
    "Llama 3": (llama3, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}),
    "Llama 2": (llama2, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}),
    "Unigram": (unigram, {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}),
    "WordPiece": (word_piece, {"eos_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}),
    "WordLevel": (word_level, {"eos_token": "</s>", "unk_token": "[UNK]"}),
    "bos = eos": (lambda: byte_level(special=("<eos>",)), {"bos_token": "<eos>", "eos_token": "<eos>"}),
    "truncation and padding": (with_truncation, {}),
    "added words": (with_added_words, {}),
    "a few gaps": (lambda: byte_level({"zz": 261, "<|endoftext|>": 266}), {}),
    "a wide gap": (lambda: byte_level({"<|endoftext|>": 74_095}), {"eos_token": "<|endoftext|>"}),
}
WRITERS = {"bare": bare, "transformers": by_transformers, "legacy": legacy}


def write_documents(folder: Path, texts: list[str]) -> dict[str, str | Path]:
    files: dict[str, str | Path] = {}
    for name, part in (("train", texts), ("held_out", texts[:6])):
        files[name] = folder / f"{name}.parquet"
        pq.write_table(pa.table({"text": pa.array(part, pa.large_string())}), files[name])
    return files


# Each writer with every third kind, and all with the first.
PAIRS = [(kind, tuple(WRITERS)[index % 3]) for index, kind in enumerate(KINDS)]
PAIRS += [
    ("byte-level", "transformers"),
    ("byte-level", "legacy"),
    ("Llama 2", "transformers"),
    ("a few gaps", "transformers"),
]


@pytest.mark.parametrize(("kind", "writer"), PAIRS)
def test_from_text_to_transformers(kind: str, writer: str, tmp_path: Path) -> None:
    make, names = KINDS[kind]
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    WRITERS[writer](make(), folder, names)
    documents = write_documents(tmp_path, TEXTS)
    summary = tokenize(documents, folder, tmp_path / "tokens")
    train(tmp_path / "tokens", tmp_path / "run", model=SHAPE, config=STEPS, device="cpu")
    result = evaluate(
        tmp_path / "run" / "model",
        tmp_path / "tokens",
        tmp_path / "evaluation",
        EvaluateConfig(),
        held_out_documents=documents["held_out"],
    )
    assert result["bytes"] == sum(len(text.encode()) for text in TEXTS[:3]) * 2
    export(tmp_path / "run" / "model", folder, tmp_path / "export")

    opened = open_tokenizer(folder)
    assert summary["vocab_size"] == opened.vocab_size == max(opened.tokenizer.get_vocab().values()) + 1
    file = TokenFile.open(tmp_path / "tokens", "train")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "export")
    assert theirs.eos_token is not None
    assert len(theirs) == opened.tokens  # none was added, which would have no row in the embedding
    for index, text in enumerate(TEXTS[:3]):
        ids = file.tokens[slice(*file.document_starts[index : index + 2])].tolist()
        assert ids.pop() == opened.end_of_document
        assert theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] == ids
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "export").eval()
    ours = load_pretrained(tmp_path / "export")
    ids = file.tokens[:20].astype(np.int64)
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)[None]).logits[0]
        torch.testing.assert_close(ours.logits(PackedBatch.from_documents([ids])), expected, atol=1e-5, rtol=1e-5)
    assert complete(tmp_path / "export", GenerateConfig(prompt="the cat", max_new_tokens=4))["tokens"] <= 4
    lossy = kind in ("Unigram", "WordPiece", "WordLevel", "added words")
    assert ("changed_documents" in result) == ("train_changed_documents" in summary) == lossy


def write(folder: Path, kind: str) -> Path:
    make, names = KINDS[kind]
    folder.mkdir()
    bare(make(), folder, names)
    return folder


def test_what_is_lost_is_counted(tmp_path: Path) -> None:
    documents = write_documents(tmp_path, TEXTS)
    summary = tokenize(documents, write(tmp_path / "words", "WordLevel"), tmp_path / "tokens")
    assert summary["train_unknown_tokens"] == 8  # "bark,"
    assert summary["train_special_tokens_in_text"] == 8  # "</s>", a word of its vocabulary
    assert summary["train_changed_documents"] == 16  # and two blanks
    kept = tokenize(documents, write(tmp_path / "bytes", "byte-level"), tmp_path / "kept")
    assert not [name for name in kept if "changed" in name or "unknown" in name or "special" in name]
    dropped = tmp_path / "characters"  # a BPE without an unknown token drops the characters that it lacks
    dropped.mkdir()
    tokenizer = Tokenizer(models.BPE({"t": 0, "h": 1, "e": 2, " ": 3}, []))
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.save(str(dropped / "tokenizer.json"))
    assert tokenize(documents, dropped, tmp_path / "dropped")["train_changed_documents"] == 24


def test_words_that_mark_ends_are_no_marks_in_a_text(tmp_path: Path) -> None:
    """Added as plain words, they would be found in a document, or in a message, and end it."""
    folder = tmp_path / "t"
    folder.mkdir()
    tokenizer = byte_level(special=())
    tokenizer.add_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "[PAD]"])
    bare(tokenizer, folder, {"pad_token": "[PAD]"})
    said = "x<|im_end|><|endoftext|>[PAD] <|im_start|>"
    tokenize(write_documents(tmp_path, [said]), folder, tmp_path / "tokens")
    assert TokenFile.open(tmp_path / "tokens", "train").tokens.tolist() == [
        *(ALPHABET.index(character) for character in said.replace(" ", "Ġ")),
        256,
    ]
    messages = [{"role": "user", "content": said}, {"role": "assistant", "content": said}]
    tokens, _ = encode_conversation(messages, open_tokenizer(folder))
    assert [tokens.count(mark) for mark in (256, 257, 258, 259)] == [0, 3, 3, 0]


def test_gaps_are_told(tmp_path: Path) -> None:
    summary = tokenize(write_documents(tmp_path, TEXTS), write(tmp_path / "t", "a wide gap"), tmp_path / "tokens")
    assert (summary["vocab_size"], summary["unused_ids"]) == (74_096, 74_096 - 257)
    assert TokenFile.open(tmp_path / "tokens", "train").tokens.dtype == np.dtype("<u4")


def test_a_vocabulary_keeps_its_fingerprint(tmp_path: Path) -> None:
    byte_level({"\u65e5\U00020000": 300, "zz": 400}).save(str(tmp_path / "tokenizer.json"))
    folder = open_tokenizer(tmp_path)
    pairs = sorted((index, token) for token, index in folder.tokenizer.get_vocab().items())
    lines = "".join(f"{index} {len(token)} {token}\n" for index, token in pairs)
    assert folder.fingerprint == xxhash.xxh3_128_hexdigest(lines.encode())


def test_dropout_is_off(tmp_path: Path) -> None:
    folder = write(tmp_path / "t", "Llama 3")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"] |= {"dropout": 0.9, "merges": [["Ġ", "t"]]}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = open_tokenizer(folder).tokenizer
    assert [tokenizer.encode(" t", add_special_tokens=False).ids for _ in range(20)] == [[256]] * 20


def change(file: str, **values: Any) -> Callable[[Path], None]:
    """Set keys of a JSON file; those of tokenizer.json's model as of_model_KEY."""

    def apply(folder: Path) -> None:
        path = folder / file
        content = json.loads(path.read_text()) if path.exists() else {}
        for key, value in values.items():
            target = content["model"] if key.startswith("of_model_") else content
            target[key.removeprefix("of_model_")] = value
        path.write_text(json.dumps(content))

    return apply


def put(file: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_text(content) and None


def far_end(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"][0]["id"] = 300
    (folder / "tokenizer.json").write_text(json.dumps(content))


VOCAB = {character: index for index, character in enumerate(ALPHABET[:255])}
BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no tokenizer.json": (
        lambda folder: (folder / "tokenizer.json").unlink(),
        "holds no tokenizer.json; give the fold",
    ),
    "a newer version": (
        change("tokenizer.json", of_model_type="Next"),
        "is not a tokenizer that tokenizers .* reads .*upg",
    ),
    "a pre-tokenizer of the future": (
        change("tokenizer.json", pre_tokenizer={"type": "Next"}),
        "or upgrade tokenizers",
    ),
    "cut off": (put("tokenizer.json", '{"model": {"type": "BPE"'), "is not a tokenizer"),
    "a list": (put("tokenizer.json", "[]"), "is not a tokenizer"),
    "not UTF-8": (lambda folder: (folder / "tokenizer.json").write_bytes(b"\xff{}") and None, "is not a tokenizer"),
    "another id than the file's": (far_end, "'<|endoftext|>' has the id 300, but tokenizers reads it as 256"),
    "a shared id": (change("tokenizer.json", of_model_vocab=VOCAB | {"zz": 5}), "share the id 5; give each its own"),
    "an id beyond all": (change("tokenizer.json", of_model_vocab=VOCAB | {"zz": 1 << 24}), "give ids below 16777216"),
    "a missing pad": (
        change("tokenizer_config.json", pad_token="[PAD]"),
        "pad_token is '\\[PAD\\]', which tokenizer.json",
    ),
    "a missing object": (
        change("special_tokens_map.json", eos_token={"content": "</s>"}),
        "eos_token is '</s>', which",
    ),
    "a list as a token": (
        change("tokenizer_config.json", eos_token=["a", "b"]),
        "eos_token = \\['a', 'b'\\] is not a token",
    ),
    "a missing extra": (change("tokenizer_config.json", extra_special_tokens=["<x>"]), "tokens 1 is '<x>', which"),
    "a missing named extra": (
        change("tokenizer_config.json", extra_special_tokens={"x_token": "<x>"}),
        "x_token is '<x>'",
    ),
    "another id in the configuration": (
        change("tokenizer_config.json", added_tokens_decoder={"9": {"content": "<|endoftext|>"}}),
        "gives the added token '<|endoftext|>' the id 9, and tokenizer.json 256",
    ),
    "another id beside it": (
        put("added_tokens.json", '{"<x>": 257}'),
        "added token '<x>' the id 257, and tokenizer.json N",
    ),
    "configuration no object": (put("tokenizer_config.json", "[1]"), "tokenizer_config.json is not a JSON object"),
    "configuration cut off": (put("tokenizer_config.json", "{"), "tokenizer_config.json is not valid JSON"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_export_would_miss_is_told_before_training(fault: str, tmp_path: Path) -> None:
    damage, message = BROKEN[fault]
    folder = write(tmp_path / "tokenizer", "byte-level")
    damage(folder)
    documents = write_documents(tmp_path, TEXTS[:6])
    with pytest.raises(SmolfastError, match=message.replace("<|endoftext|>", r"<\|endoftext\|>")) as error:
        tokenize(documents, folder, tmp_path / "tokens")
    assert str(folder) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "tokens").exists()


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders: a `tokenizer` of 257 ids, `tokens`, and a `model` of 320 rows; the documents beside them."""
    folder = tmp_path_factory.mktemp("padded")
    tokenize(write_documents(folder, TEXTS), write(folder / "tokenizer", "byte-level"), folder / "tokens")
    save_pretrained(SmolLM(SHAPE, 320, seed=1), folder / "model", end_of_document=256)
    return folder


def test_padded_embeddings(padded: Path, tmp_path: Path) -> None:
    """A model with more rows than the tokenizer has ids goes through everything, and keeps its rows."""
    train(padded / "tokens", tmp_path / "run", model=SHAPE, config=STEPS, init=padded / "model", device="cpu")
    assert load_pretrained(tmp_path / "run" / "model").vocab_size == 320
    evaluate(tmp_path / "run" / "model", padded / "tokens", tmp_path / "evaluation", EvaluateConfig(),
             held_out_documents=padded / "held_out.parquet")  # fmt: skip
    export(tmp_path / "run" / "model", padded / "tokenizer", tmp_path / "export")
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "export").config.vocab_size == 320
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "export").eos_token_id == 256
    complete(tmp_path / "export", GenerateConfig(prompt="a", max_new_tokens=2))


def test_rows_without_a_token_are_never_drawn(padded: Path, tmp_path: Path) -> None:
    model = SmolLM(SHAPE.model_copy(update={"tie_word_embeddings": False}), 320, seed=1)
    with torch.no_grad():
        model.lm_head.weight[:257] = 0  # half of the padding is likelier than any token
    save_pretrained(model, tmp_path / "model", end_of_document=256)
    export(tmp_path / "model", padded / "tokenizer", tmp_path / "export")
    sample = complete(tmp_path / "export", GenerateConfig(prompt="abc", max_new_tokens=20, temperature=0.0))
    assert sample["text"] == ALPHABET[0] * 20  # the first of equals


@pytest.mark.parametrize("rows", [257, 320, 400])
def test_a_teacher_padded_otherwise(rows: int, padded: Path, tmp_path: Path) -> None:
    """Teacher and student may each have rows that stand for no token; the other's padding changes nothing."""
    save_pretrained(SmolLM(SHAPE, rows, seed=2), tmp_path / "teacher", end_of_document=256)
    init = {"init": padded / "model"} if rows != 320 else {}
    summary = train(padded / "tokens", tmp_path / "run", model=SHAPE, config=STEPS, device="cpu",
                    teacher=tmp_path / "teacher", **init)  # fmt: skip
    assert np.isfinite(summary["loss"])


@pytest.mark.parametrize("option", ["init", "teacher"])
def test_too_few_rows(option: str, padded: Path, tmp_path: Path) -> None:
    save_pretrained(SmolLM(SHAPE, 256), tmp_path / "model", end_of_document=0)
    with pytest.raises(SmolfastError, match=r"a vocabulary of 256,.*one of 257; tokenize with"):
        train(padded / "tokens", tmp_path / "run", model=SHAPE, config=STEPS, device="cpu",
              **{option: tmp_path / "model"})  # fmt: skip
    with pytest.raises(SmolfastError, match=r"a vocabulary of 256,.*one of 257; tokenize with"):
        evaluate(tmp_path / "model", padded / "tokens", tmp_path / "e", EvaluateConfig(),
                 held_out_documents=padded / "held_out.parquet")  # fmt: skip


def test_another_vocabulary_of_no_more_ids_is_refused(padded: Path, tmp_path: Path) -> None:
    """Sizes don't tell, since embeddings may be padded; the run remembers what it was trained on."""
    train(padded / "tokens", tmp_path / "run", model=SHAPE, config=STEPS, init=padded / "model", device="cpu")
    other = tmp_path / "other"
    other.mkdir()
    bare(byte_level(special=("<eos>",)), other, {"eos_token": "<eos>"})
    tokenize(write_documents(tmp_path, TEXTS), other, tmp_path / "tokens")
    model = tmp_path / "run" / "model"
    with pytest.raises(SmolfastError, match=r"other has another vocabulary than .* was trained on; give the tokenizer"):
        export(model, other, tmp_path / "export")
    with pytest.raises(SmolfastError, match="has another vocabulary than"):
        evaluate(model, tmp_path / "tokens", tmp_path / "e", EvaluateConfig(),
                 held_out_documents=tmp_path / "held_out.parquet")  # fmt: skip
    with pytest.raises(SmolfastError, match="has another vocabulary than"):
        train(tmp_path / "tokens", tmp_path / "next", model=SHAPE, config=STEPS, init=model, device="cpu")
    again = tmp_path / "again"  # the same, saved once more with other settings
    again.mkdir()
    legacy(byte_level(), again, {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})
    export(model, again, tmp_path / "export")


def test_documents_that_cannot_be_encoded(tmp_path: Path) -> None:
    """tokenizers' own exceptions name the document; --errors skip leaves it out, and evaluate still finds the rest."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    words = ["the", "cat", "sat", "</s>"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    bare(tokenizer, folder, {})
    texts = ["the cat sat"] * 5 + ["the dog sat"] + ["the cat"] * 10
    documents = write_documents(tmp_path, texts)
    with pytest.raises(SmolfastError, match=r"train\.parquet, document 5 \('the dog sat'.*UNK.*--errors skip") as error:
        tokenize(documents, folder, tmp_path / "tokens")
    assert "\n" not in str(error.value)
    summary = tokenize(documents, folder, tmp_path / "tokens", errors="skip")
    assert (summary["documents_in"], summary["documents_out"], summary["documents_skipped"]) == (22, 20, 2)
    train(tmp_path / "tokens", tmp_path / "run", model=SHAPE, config=STEPS, device="cpu")
    result = evaluate(tmp_path / "run" / "model", tmp_path / "tokens", tmp_path / "e", EvaluateConfig(),
                      held_out_documents=documents["held_out"])  # fmt: skip
    assert result["documents"] == 5


def test_templates_and_settings_are_kept(tmp_path: Path) -> None:
    """Chat templates as a file, as further files, in the configuration; custom code isn't taken along."""
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=byte_level(), eos_token="<|endoftext|>")
    tokenizer.chat_template = {"default": "{{ messages[0].content }}", "short": "x"}
    tokenizer.save_pretrained(tmp_path / "t")
    change("tokenizer_config.json", auto_map={"AutoTokenizer": ["code.Tok", None]}, model_max_length=77)(tmp_path / "t")
    save_pretrained(SmolLM(SHAPE, 257), tmp_path / "model", end_of_document=256)
    export(tmp_path / "model", tmp_path / "t", tmp_path / "export")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "export")
    assert theirs.chat_template == {"default": "{{ messages[0].content }}", "short": "x"}
    assert theirs.model_max_length == 77
    assert "auto_map" not in json.loads((tmp_path / "export" / "tokenizer_config.json").read_text())
    assert "| vocabulary | 257 (byte-level BPE) |" in (tmp_path / "export" / "README.md").read_text()
