"""The files in which tokenizers come: read, completed, and kept as they were for the way back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from handloom import gguf_file
from handloom.errors import HandloomError
from handloom.text import gguf_tokenizer, marian_pieces, sentencepiece_file
from handloom.text.sentencepiece_file import SentencePieceModel

ROLES = ("cls", "sep", "pad", "unk", "mask")

NO_CASE = "lowercase can be chosen for BERT's normalizer only; this tokenizer has another."

# The usual spellings of each role, for folders that do not name them.
USUAL = {
    "cls": ("[CLS]", "<s>", "<cls>", "<|endoftext|>"),
    "sep": ("[SEP]", "</s>", "<sep>", "<|endoftext|>"),
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>", "<|endoftext|>"),
    "mask": ("[MASK]", "<mask>"),
}

# Files with a SentencePiece model, and the class that transformers opens our tokenizer.json with (its own ones for
# DeBERTa and Llama leave out the model's normaliser).
SENTENCE_PIECE = {
    "sentencepiece.bpe.model": "XLMRobertaTokenizer",
    "spm.model": "PreTrainedTokenizerFast",
    "spiece.model": "T5Tokenizer",
    "tokenizer.model": "PreTrainedTokenizerFast",
}
SENTINELS = 100  # of T5, where tokenizer_config.json does not say how many

# Carried along unchanged when a tokenizer is saved as it was loaded.
ORIGINALS = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "vocab.txt", "vocab.json", "merges.txt", "added_tokens.json", "chat_template.jinja",
    *SENTENCE_PIECE, "source.spm", "target.spm", "target_vocab.json",
)  # fmt: skip


@dataclass(slots=True)
class Source:
    """A tokenizer and what its folder says of it. `special`: role → token; `originals`: file → content; `target`: that
    of what is written, if what is read has another."""

    tokenizer: Any  # a tokenizers.Tokenizer, or what has its methods: Marian's
    config: dict[str, Any] = field(default_factory=dict)
    special: dict[str, str] = field(default_factory=dict)
    originals: dict[str, bytes] = field(default_factory=dict)
    target: Source | None = None


def load(folder: Path, lowercase: bool | None) -> Source:
    """See `Tokenizer.load`."""
    if (packed := gguf_file.within(folder)) is not None:
        return _from_gguf(packed, lowercase)
    if not folder.is_dir():
        raise HandloomError(f"{folder} is not a folder; a tokenizer is loaded from a model's folder.")
    originals = {name: (folder / name).read_bytes() for name in ORIGINALS if (folder / name).is_file()}
    config = _object(folder, originals, "tokenizer_config.json")
    named = _names({**_object(folder, originals, "special_tokens_map.json"), **config})
    if marian_pieces.SOURCE in originals:
        return _marian(folder, originals, config, lowercase)
    if "tokenizer.json" in originals:
        tokenizer = _parse(folder / "tokenizer.json", originals["tokenizer.json"])
    elif "vocab.txt" in originals:
        tokenizer, config = _word_piece(folder, originals["vocab.txt"], config, named)
    elif "vocab.json" in originals and "merges.txt" in originals:
        tokenizer, config = _byte_level(folder, originals, config, named)
    elif name := next((name for name in SENTENCE_PIECE if name in originals), None):
        model = sentencepiece_file.parse(folder / name, originals[name])
        tokenizer, config = _PIECES.get(name, _unigram)(folder / name, model, config, named)
    else:
        raise HandloomError(_no_tokenizer(folder))
    special = _special(tokenizer, named)
    tokenizer, cased_otherwise = _with_case(tokenizer, config.get("do_lower_case"), lowercase)
    if cased_otherwise:
        config = {**config, "do_lower_case": bool(lowercase)}
        for name in ("tokenizer.json", "tokenizer_config.json"):
            originals.pop(name, None)
    # tokenizer.json says itself what stands around a text, unless somebody has named what begins and ends one
    if "tokenizer.json" not in originals or {"cls", "sep"} <= named.keys():
        _frame(tokenizer, special)
    return Source(tokenizer, config, special, originals)


def _from_gguf(path: Path, lowercase: bool | None) -> Source:
    if lowercase is not None:
        raise HandloomError(NO_CASE)
    tokenizer, config = gguf_tokenizer.load(path)
    return Source(tokenizer, config, _special(tokenizer, _names(config)))


def _no_tokenizer(folder: Path) -> str:
    there = sorted(path.name for path in folder.iterdir())[:12]
    hint = ""
    if any(name.endswith((".model", ".spm")) for name in there):
        place = repr(str(folder))
        hint = (
            f" A SentencePiece model of another name than {' or '.join(SENTENCE_PIECE)} is not read as it is; with "
            f"transformers, AutoTokenizer.from_pretrained({place}).save_pretrained({place}) writes tokenizer.json."
        )
    return (
        f"{folder} holds no tokenizer: expected tokenizer.json, or vocab.txt, or vocab.json with merges.txt, or "
        f"{' or '.join(SENTENCE_PIECE)}. There: {', '.join(there) or 'nothing'}.{hint}"
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
    if str(config.get("tokenizer_class")).startswith("Qwen"):
        raise HandloomError(
            f"{folder}: Qwen's tokenizer cuts words otherwise than GPT-2's, whose files vocab.json and merges.txt are; "
            "fetch its tokenizer.json, too."
        )
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
    path: Path, model: SentencePieceModel, config: dict[str, Any], named: dict[str, str]
) -> tuple[Tokenizer, dict[str, Any]]:
    """XLM-RoBERTa's and DeBERTa's SentencePiece models."""
    if model.kind != sentencepiece_file.UNIGRAM:
        raise sentencepiece_file.wrong_kind(path, model, "unigram")
    pieces, unknown = list(model.pieces), model.unknown
    if path.name == "sentencepiece.bpe.model":
        # Its own ids are one lower: the training's dictionary began with <s> <pad> </s> <unk>, the file with three.
        pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces[3:], ("<mask>", 0.0)]
        unknown = 3
    lower = bool(config.get("do_lower_case"))
    tokenizer = sentencepiece_file.tokenizer(path, model, pieces=pieces, unknown=unknown, lowercase=lower)
    vocabulary = {piece for piece, _ in pieces}
    # DeBERTa's mask is in no file: it stands behind the last piece, and becomes a token by being added.
    names = {role: named.get(role) or next((n for n in USUAL[role] if n in vocabulary), None) for role in ROLES}
    names["mask"] = names["mask"] or "[MASK]"
    tokenizer.add_special_tokens(_special_tokens({role: name for role, name in names.items() if name is not None}))
    return tokenizer, {"tokenizer_class": SENTENCE_PIECE[path.name], **config}


def _t5(
    path: Path, model: SentencePieceModel, config: dict[str, Any], named: dict[str, str]
) -> tuple[Tokenizer, dict[str, Any]]:
    """T5's and mT5's: behind the pieces stand the words for gaps, the last of them first."""
    if model.kind != sentencepiece_file.UNIGRAM:
        raise sentencepiece_file.wrong_kind(path, model, "unigram")
    count = config.get("extra_ids", SENTINELS)
    if type(count) is not int or not 0 <= count <= 2**16:
        raise HandloomError(f"{path.parent / 'tokenizer_config.json'}: extra_ids must be a whole number, not {count!r}")
    known = {piece for piece, _ in model.pieces}
    gaps = [f"<extra_id_{number}>" for number in reversed(range(count))]
    pieces = [*model.pieces, *((gap, 0.0) for gap in gaps if gap not in known)]
    tokenizer = sentencepiece_file.tokenizer(path, model, pieces=pieces)
    names = {role: named.get(role, usual) for role, usual in (("eos", "</s>"), ("unk", "<unk>"), ("pad", "<pad>"))}
    if (end := tokenizer.token_to_id(names["eos"])) is None:
        raise HandloomError(f"{path}: lacks {names['eos']!r}, the token that ends a text")
    there = {role: name for role, name in names.items() if tokenizer.token_to_id(name) is not None}
    tokenizer.add_special_tokens([*_special_tokens(there), *(AddedToken(gap, normalized=False) for gap in gaps)])
    if not {"[CLS]", "[SEP]"} <= known:  # ALBERT has the same file, and BERT's frame
        tokenizer.post_processor = processors.TemplateProcessing(
            single=["$A", names["eos"]], pair=["$A", names["eos"], "$B", names["eos"]],
            special_tokens=[(names["eos"], end)],
        )  # fmt: skip
    roles = {f"{role}_token": name for role, name in there.items()}
    return tokenizer, {"tokenizer_class": SENTENCE_PIECE[path.name], "extra_ids": count, **roles, **config}


def _llama(
    path: Path, model: SentencePieceModel, config: dict[str, Any], named: dict[str, str]
) -> tuple[Tokenizer, dict[str, Any]]:
    """Llama's and Mistral's: a text begins with <s>; no text spells the control pieces."""
    prefix = "always" if config.get("legacy") else "first"
    tokenizer = sentencepiece_file.tokenizer(path, model, prefix=prefix)
    usual = {"bos": "<s>", "eos": "</s>", "unk": model.pieces[model.unknown][0]}
    names = {role: named.get(role, name) for role, name in usual.items()}
    there = {role: name for role, name in names.items() if tokenizer.token_to_id(name) is not None}
    control = [model.pieces[index][0] for index in model.ids_of(sentencepiece_file.CONTROL)]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in (*there.values(), *control)])
    frame = []
    for key, role, default in (("add_bos_token", "bos", True), ("add_eos_token", "eos", False)):
        wanted = config.get(key, default)
        if wanted and role not in there:
            raise HandloomError(f"{path}: lacks {names[role]!r}, the {role}_token that {key} asks for")
        frame.append([names[role]] if wanted else [])
    before, after = frame
    if before or after:
        ids = [(name, tokenizer.token_to_id(name) or 0) for name in {*before, *after}]
        pair = [*before, "$A", *after, *(f"{name}:1" for name in (*before, "$B", *after))]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[*before, "$A", *after], pair=pair, special_tokens=ids
        )
    roles = {f"{role}_token": name for role, name in there.items()}
    return tokenizer, {"tokenizer_class": SENTENCE_PIECE[path.name], **roles, **config}


_PIECES = {"spiece.model": _t5, "tokenizer.model": _llama}


def _marian(folder: Path, originals: dict[str, bytes], config: dict[str, Any], lowercase: bool | None) -> Source:
    if lowercase is not None:
        raise HandloomError(NO_CASE)
    names = (marian_pieces.WORDS, marian_pieces.TARGET_WORDS)
    words = {name: _object(folder, originals, name) for name in names if name in originals}
    source, target = marian_pieces.load(folder, originals, config, words)
    roles = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    config = {"tokenizer_class": "MarianTokenizer", **roles, **config}
    sides = [Source(side, config, {role: name for role, name in _names(config).items() if side.token_to_id(name)
                                   is not None}, originals) for side in (source, target)]  # fmt: skip
    sides[0].target = sides[1]
    return sides[0]


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
            raise HandloomError(NO_CASE)
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
