"""The files in which tokenizers come: read, completed, and kept as they were for the way back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from handloom import gguf_file
from handloom.errors import HandloomError
from handloom.text import gguf_tokenizer, sentencepiece_file

ROLES = ("cls", "sep", "pad", "unk", "mask")

# The usual spellings of each role, for folders that do not name them.
USUAL = {
    "cls": ("[CLS]", "<s>", "<cls>", "<|endoftext|>"),
    "sep": ("[SEP]", "</s>", "<sep>", "<|endoftext|>"),
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>", "<|endoftext|>"),
    "mask": ("[MASK]", "<mask>"),
}

# Files with a SentencePiece model of the unigram kind, and the class that transformers opens our tokenizer.json with
# (its own one for DeBERTa leaves out the model's normaliser).
UNIGRAM = {"sentencepiece.bpe.model": "XLMRobertaTokenizer", "spm.model": "PreTrainedTokenizerFast"}

# Carried along unchanged when a tokenizer is saved as it was loaded.
ORIGINALS = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "vocab.txt", "vocab.json", "merges.txt", "added_tokens.json", "chat_template.jinja",
    "sentencepiece.bpe.model", "spm.model",
)  # fmt: skip


@dataclass(slots=True)
class Source:
    """A tokenizer and what its folder says of it. `special`: role → token; `originals`: file → content."""

    tokenizer: Tokenizer
    config: dict[str, Any] = field(default_factory=dict)
    special: dict[str, str] = field(default_factory=dict)
    originals: dict[str, bytes] = field(default_factory=dict)


def load(folder: Path, lowercase: bool | None) -> Source:
    """See `Tokenizer.load`."""
    if (packed := gguf_file.within(folder)) is not None:
        return _from_gguf(packed, lowercase)
    if not folder.is_dir():
        raise HandloomError(f"{folder} is not a folder; a tokenizer is loaded from a model's folder.")
    originals = {name: (folder / name).read_bytes() for name in ORIGINALS if (folder / name).is_file()}
    config = _object(folder, originals, "tokenizer_config.json")
    named = _names({**_object(folder, originals, "special_tokens_map.json"), **config})
    if "tokenizer.json" in originals:
        tokenizer = _parse(folder / "tokenizer.json", originals["tokenizer.json"])
    elif "vocab.txt" in originals:
        tokenizer, config = _word_piece(folder, originals["vocab.txt"], config, named)
    elif "vocab.json" in originals and "merges.txt" in originals:
        tokenizer, config = _byte_level(folder, originals, config, named)
    elif name := next((name for name in UNIGRAM if name in originals), None):
        tokenizer, config = _unigram(folder / name, originals[name], config, named)
    else:
        raise HandloomError(_no_tokenizer(folder))
    special = _special(tokenizer, named)
    tokenizer, cased_otherwise = _with_case(tokenizer, config.get("do_lower_case"), lowercase)
    if cased_otherwise:
        config = {**config, "do_lower_case": bool(lowercase)}
        for name in ("tokenizer.json", "tokenizer_config.json"):
            originals.pop(name, None)
    _frame(tokenizer, special)
    return Source(tokenizer, config, special, originals)


def _from_gguf(path: Path, lowercase: bool | None) -> Source:
    if lowercase is not None:
        raise HandloomError("lowercase can be chosen for BERT's normalizer only; this tokenizer has another.")
    tokenizer, config = gguf_tokenizer.load(path)
    return Source(tokenizer, config, _special(tokenizer, _names(config)))


def _no_tokenizer(folder: Path) -> str:
    there = sorted(path.name for path in folder.iterdir())[:12]
    hint = ""
    if any(name.endswith((".model", ".spm")) for name in there):
        place = repr(str(folder))
        hint = (
            f" A SentencePiece model of another name than {' or '.join(UNIGRAM)} is not read as it is; with "
            f"transformers, AutoTokenizer.from_pretrained({place}).save_pretrained({place}) writes tokenizer.json."
        )
    return (
        f"{folder} holds no tokenizer: expected tokenizer.json, or vocab.txt, or vocab.json with merges.txt, or "
        f"{' or '.join(UNIGRAM)}. There: {', '.join(there) or 'nothing'}.{hint}"
    )


def _object(folder: Path, originals: dict[str, bytes], name: str) -> dict[str, Any]:
    if name not in originals:
        return {}
    try:
        content = json.loads(originals[name])
    except ValueError as error:
        raise HandloomError(f"{folder / name} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise HandloomError(f"{folder / name} should hold a JSON object, not a {type(content).__name__}.")
    return content


def _names(config: dict[str, Any]) -> dict[str, str]:
    """`cls_token: "[CLS]"` and `cls_token: {"content": "[CLS]", …}`, both as cls → [CLS]."""
    found = {}
    for role in ROLES:
        value = config.get(f"{role}_token")
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str) and value:
            found[role] = value
    return found


def _parse(path: Path, content: bytes) -> Tokenizer:
    try:
        return Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:  # the library raises the bare class, and only that, for what it cannot parse
        if type(error) is not Exception and not isinstance(error, ValueError):
            raise
        raise HandloomError(
            f"{path} cannot be read as a tokenizer: {error}. If it was written by a newer version of the "
            "`tokenizers` library, upgrade that; if it was cut short, fetch it again."
        ) from error


def _usual(begins_with_s: bool) -> dict[str, list[str]]:
    """The spellings to try. A vocabulary that begins with <s> is of RoBERTa's kin: MPNet's holds BERT's special tokens
    as well, of which it uses the unknown one only."""
    return {role: sorted(names, key=lambda name: begins_with_s and name[0] != "<") for role, names in USUAL.items()}


def _special(tokenizer: Tokenizer, named: dict[str, str]) -> dict[str, str]:
    unknown = getattr(tokenizer.model, "unk_token", None)
    named = {**({"unk": unknown} if isinstance(unknown, str) else {}), **named}
    usual = _usual(tokenizer.token_to_id("<s>") == 0)
    found = {}
    for role in ROLES:
        for name in [named[role]] if role in named else usual[role]:
            if tokenizer.token_to_id(name) is not None:
                found[role] = name
                break
    return found


def _word_piece(
    folder: Path, content: bytes, config: dict[str, Any], named: dict[str, str]
) -> tuple[Tokenizer, dict[str, Any]]:
    """BERT's: one token a line, its id the line's number."""
    try:
        lines = content.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise HandloomError(f"{folder / 'vocab.txt'} is not UTF-8 (byte {error.start}).") from error
    vocabulary = {line.rstrip("\r"): index for index, line in enumerate(lines)}
    mpnet = vocabulary.get("<s>") == 0
    usual = {role: names[0] for role, names in _usual(mpnet).items()}
    names = {role: named.get(role, usual[role] if role != "unk" else "[UNK]") for role in ROLES}
    missing = [names[role] for role in ("cls", "sep", "unk") if names[role] not in vocabulary]
    if missing:
        raise HandloomError(
            f"{folder / 'vocab.txt'} lacks {', '.join(missing)}; a BERT vocabulary holds one token a line, "
            "these among them. Special tokens of other names are read from tokenizer_config.json."
        )
    lower = config.get("do_lower_case")
    if lower is None:
        lower = not any(any("A" <= c <= "Z" for c in token) for token in vocabulary if token[:1] not in "[<")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=names["unk"], max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
        strip_accents=config.get("strip_accents"),
        lowercase=bool(lower),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens(_special_tokens({role: name for role, name in names.items() if name in vocabulary}))
    kind = "MPNetTokenizer" if mpnet else "BertTokenizer"
    return tokenizer, {"tokenizer_class": kind, **config, "do_lower_case": bool(lower)}


def _special_tokens(names: dict[str, str]) -> list[AddedToken]:
    """<mask> takes the space before it, as it stands for a word with its space."""
    return [AddedToken(name, lstrip=name == "<mask>", normalized=False) for name in names.values()]


def _byte_level(
    folder: Path, originals: dict[str, bytes], config: dict[str, Any], named: dict[str, str]
) -> tuple[Tokenizer, dict[str, Any]]:
    """RoBERTa's and GPT-2's: merges of bytes."""
    vocabulary = _object(folder, originals, "vocab.json")
    try:
        lines = originals["merges.txt"].decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise HandloomError(f"{folder / 'merges.txt'} is not UTF-8 (byte {error.start}).") from error
    merges = []
    for number, line in enumerate(lines, 1):
        parts = line.rstrip("\r").split(" ")
        if (number == 1 and line.startswith("#version")) or parts == [""]:
            continue
        if len(parts) != 2 or any(part not in vocabulary for part in (*parts, "".join(parts))):
            raise HandloomError(
                f"{folder / 'merges.txt'}:{number}: {line!r:.60} is not two tokens of vocab.json that join to a third."
            )
        merges.append((parts[0], parts[1]))
    spaced = bool(config.get("add_prefix_space", False))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    names = {role: named.get(role) or next((n for n in USUAL[role] if n in vocabulary), None) for role in ROLES}
    there = {role: name for role, name in names.items() if name is not None and name in vocabulary}
    tokenizer.add_special_tokens(_special_tokens(there))
    roberta = names["cls"] == "<s>" and names["sep"] == "</s>"
    return tokenizer, {"tokenizer_class": "RobertaTokenizer" if roberta else "GPT2Tokenizer", **config}


def _unigram(
    path: Path, content: bytes, config: dict[str, Any], named: dict[str, str]
) -> tuple[Tokenizer, dict[str, Any]]:
    """XLM-RoBERTa's and DeBERTa's SentencePiece models."""
    model = sentencepiece_file.parse(path, content)
    pieces, unknown = list(model.pieces), model.ids_of(sentencepiece_file.UNKNOWN)[0]
    if path.name == "sentencepiece.bpe.model":
        # Its own ids are one lower: the training's dictionary began with <s> <pad> </s> <unk>, the file with three.
        pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces[3:], ("<mask>", 0.0)]
        unknown = 3
    tokenizer = sentencepiece_file.unigram(path, model, pieces, unknown, lowercase=bool(config.get("do_lower_case")))
    vocabulary = {piece for piece, _ in pieces}
    # DeBERTa's mask is in no file: it stands behind the last piece, and becomes a token by being added.
    names = {role: named.get(role) or next((n for n in USUAL[role] if n in vocabulary), None) for role in ROLES}
    names["mask"] = names["mask"] or "[MASK]"
    tokenizer.add_special_tokens(_special_tokens({role: name for role, name in names.items() if name is not None}))
    return tokenizer, {"tokenizer_class": UNIGRAM[path.name], **config}


def _frame(tokenizer: Tokenizer, special: dict[str, str]) -> None:
    """Gives a tokenizer without its own frame the usual one: [CLS] a [SEP] b [SEP], or <s> a </s> </s> b </s>."""
    if tokenizer.num_special_tokens_to_add(False) or not {"cls", "sep"} <= special.keys():
        return
    if special["cls"] == special["sep"]:  # GPT-2's one token for everything frames nothing
        return
    cls, sep = ((special[role], tokenizer.token_to_id(special[role]) or 0) for role in ("cls", "sep"))
    if "ByteLevel" in pre_tokenizer_types(tokenizer):
        tokenizer.post_processor = processors.RobertaProcessing(
            sep, cls, trim_offsets=True, add_prefix_space=marks_every_word(tokenizer)
        )
        return
    single, second = f"{cls[0]} $A {sep[0]}", f"$B:1 {sep[0]}:1"
    if cls[0] == "<s>":  # RoBERTa's kin: one more separator, and no types
        second = f"{sep[0]} $B:0 {sep[0]}"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=f"{single} {second}", special_tokens=[cls, sep]
    )


def _with_case(tokenizer: Tokenizer, said: Any, wanted: bool | None) -> tuple[Tokenizer, bool]:
    """The tokenizer with the case that the folder says, or the user wants; whether it now differs from the folder.

    Where tokenizer_config.json and tokenizer.json disagree, transformers follows the former; so do we.
    """
    normalizer = tokenizer.normalizer
    if not isinstance(normalizer, normalizers.BertNormalizer):
        if wanted is not None:
            raise HandloomError("lowercase can be chosen for BERT's normalizer only; this tokenizer has another.")
        return tokenizer, False
    folder = said if isinstance(said, bool) else bool(normalizer.lowercase)
    result = folder if wanted is None else wanted
    if result != normalizer.lowercase:
        state = json.loads(tokenizer.to_str())
        state["normalizer"]["lowercase"] = result
        tokenizer = Tokenizer.from_str(json.dumps(state))
    return tokenizer, result != folder


def _pre_tokenizers(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    # Only this part is wanted, so it is asked for its own state and not the whole file.
    part = tokenizer.pre_tokenizer
    if part is None:
        return []
    state = json.loads(part.__getstate__())
    return list(state["pretokenizers"]) if state["type"] == "Sequence" else [state]


def pre_tokenizer_types(tokenizer: Tokenizer) -> set[str]:
    """The types of the pre-tokenizers, as tokenizer.json calls them."""
    return {str(state["type"]) for state in _pre_tokenizers(tokenizer)}


def marks_every_word(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer itself puts a space before each word of a text that comes already split."""
    for state in _pre_tokenizers(tokenizer):
        if state["type"] == "ByteLevel" and state.get("add_prefix_space"):
            return True
        if state["type"] == "Metaspace" and state.get("prepend_scheme", "always") != "never":
            return True
    return False
