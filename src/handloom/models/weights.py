"""The weights of a model directory: which files hold them, what their tensors are called, and what is missing.

Checkpoints of ten years disagree about names: `gamma` and `beta` for a norm's weight and bias, a prefix (`bert.`) that
is there or not, `module.` in front of all. A tensor is matched to the one parameter that it can mean; the rest is
reported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from handloom import gguf_file
from handloom.errors import HandloomError
from handloom.models.gguf_checkpoint import GgufCheckpoint
from handloom.models.safetensors_file import NAME_LIMIT, Entry, SafetensorsFile

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
INDEX_LIMIT = 16 * 2**20  # bytes
SHARD_LIMIT = 1024  # files
WRAPPERS = ("module.", "model.")  # what data-parallel and other wrappers leave in front of a name
OLD_ENDINGS = {".gamma": ".weight", ".beta": ".bias"}
# constants that old checkpoints carry; nobody misses them
BUFFERS = (".position_ids", ".token_type_ids", ".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq",
           ".embed_positions.weight")  # fmt: skip

RECIPE = """{folder}: the weights are there only as {found}, a pickle, which can run code when it is read; \
Handloom reads safetensors only.
Convert it once, where PyTorch and transformers are installed and you trust the file's origin:

    from transformers import AutoModel
    model = AutoModel.from_pretrained({folder_literal})
    model.save_pretrained({target_literal}, safe_serialization=True)

(take AutoModelForSequenceClassification or AutoModelForTokenClassification to keep a trained head; copy the \
tokenizer's files into the new folder)."""


class Weights:
    """All tensors of a model directory, from one file or several shards, or of a GGUF file under Hugging Face's names:
    checked and mapped but not yet read."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._home: dict[str, SafetensorsFile | GgufCheckpoint] = {}
        self.files: list[Path] = []
        if (packed := gguf_file.within(self.folder)) is not None:
            self._open(GgufCheckpoint(packed))
        elif (self.folder / SINGLE).is_file():
            self._open(SafetensorsFile(self.folder / SINGLE))
        elif (self.folder / INDEX).is_file():
            self._open_shards()
        else:
            raise _no_weights(self.folder)

    def _open(self, file: SafetensorsFile | GgufCheckpoint) -> None:
        self.files.append(file.path)
        self._home.update(dict.fromkeys(file.entries, file))

    def _open_shards(self) -> None:
        weight_map = read_index(self.folder / INDEX)
        shards = {name: SafetensorsFile(self.folder / name) for name in sorted(set(weight_map.values()))}
        self.files.extend(shard.path for shard in shards.values())
        for name, shard_name in weight_map.items():
            if name not in shards[shard_name].entries:
                raise HandloomError(f"{self.folder / INDEX}: says that {shard_name} holds {name!r}, but it does not")
            self._home[name] = shards[shard_name]
        for shard_name, shard in shards.items():
            for name in shard.entries:
                if weight_map.get(name) != shard_name:
                    raise HandloomError(f"{shard.path}: holds {name!r}, which {INDEX} does not place there")

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def __contains__(self, name: object) -> bool:
        return name in self._home

    def __len__(self) -> int:
        return len(self._home)

    def entry(self, name: str) -> Entry | gguf_file.Entry:
        return self._home[name].entries[name]

    def read_f32(self, name: str) -> npt.NDArray[np.float32]:
        return self._home[name].read_f32(name)


def read_index(path: Path) -> dict[str, str]:
    """`weight_map` of a sharded model: tensor name -> file name. File names may not leave the folder."""
    try:
        if path.stat().st_size > INDEX_LIMIT:
            raise HandloomError(f"{path}: larger than {INDEX_LIMIT} bytes, which no honest index is")
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HandloomError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise HandloomError(f"{path}: not valid JSON ({error})") from error
    weight_map = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise HandloomError(f"{path}: needs a \"weight_map\" from tensor names to file names")
    for name, file in weight_map.items():
        plain = isinstance(file, str) and file == Path(file).name and "\\" not in file and "\0" not in file
        if not plain or not file.endswith(".safetensors") or file.startswith("."):
            raise HandloomError(f"{path}: tensor {name[:NAME_LIMIT]!r} is said to be in {file!r}; "
                                "a plain name of a .safetensors file beside the index is needed")
    files = set(weight_map.values())
    if len(files) > SHARD_LIMIT:
        raise HandloomError(f"{path}: names {len(files)} files; at most {SHARD_LIMIT} are accepted")
    missing = sorted(file for file in files if not (path.parent / file).is_file())
    if missing:
        raise HandloomError(f"{path}: {len(missing)} of {len(files)} files are missing: {', '.join(missing[:5])}")
    return weight_map


def _no_weights(folder: Path) -> HandloomError:
    if not folder.is_dir():
        return HandloomError(f"{folder}: there is no such folder")
    pickles = sorted(path.name for pattern in ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
                     for path in folder.glob(pattern))
    if pickles:
        target = str(folder) + "-safetensors"
        return HandloomError(RECIPE.format(folder=folder, found=pickles[0], folder_literal=repr(str(folder)),
                                           target_literal=repr(target)))
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
    return HandloomError(f"{folder}: no {SINGLE} and no {INDEX} (the folder holds: {there})")


@dataclass(frozen=True)
class LoadReport:
    """What came of loading: nothing here is an error, everything is worth a line."""

    files: tuple[str, ...] = ()
    loaded: int = 0  # parameters taken from the files
    new: tuple[str, ...] = ()  # parameters that no file holds: initialised afresh
    unexpected: tuple[str, ...] = ()  # tensors that the model has no place for
    renamed: int = 0  # tensors found under an older or prefixed name
    converted: tuple[str, ...] = ()  # float types other than F32 among what was loaded
    notes: tuple[str, ...] = field(default=())

    def lines(self) -> list[str]:
        """The report for a person, at most one line a kind."""
        said = [f"{self.loaded} tensors read from {', '.join(self.files)}"]
        if self.converted:
            said.append(f"converted to f32 from {', '.join(self.converted).lower()}")
        if self.new:
            said.append(f"newly initialised, not in the file: {_abbreviated(self.new)}")
        if self.unexpected:
            said.append(f"in the file but not used: {_abbreviated(self.unexpected)}")
        return [*said, *self.notes]


def _abbreviated(names: tuple[str, ...], limit: int = 6) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


_NUMBER = re.compile(r"\.\d+\.")


def match_names(found: Iterable[str], expected: Mapping[str, tuple[int, ...]], prefix: str) -> dict[str, str]:
    """Parameter name -> the tensor in the file that it means. `prefix` is the backbone's, e.g. `bert.`.

    A name is taken as it is, in its modern spelling, or with the prefix added or taken away, whichever the model has.
    Two tensors that mean one parameter are an error, unless one bears the parameter's very name.
    """
    matched: dict[str, str] = {}
    for name in found:
        for candidate in _candidates(name, prefix):
            if candidate not in expected:
                continue
            before = matched.get(candidate)
            if before is not None and candidate not in (before, name):
                raise HandloomError(f"the tensors {before!r} and {name!r} both mean the parameter {candidate!r}")
            if before != candidate:
                matched[candidate] = name
            break
    return matched


def _candidates(name: str, prefix: str) -> Iterable[str]:
    for wrapper in ("", *WRAPPERS):
        if not name.startswith(wrapper):
            continue
        bare = name[len(wrapper):]
        for old, new in OLD_ENDINGS.items():
            if bare.endswith(old):
                bare = bare[: -len(old)] + new
        yield bare
        yield prefix + bare
        if bare.startswith(prefix):
            yield bare[len(prefix):]


def _stand_in(matched: dict[str, str], aliases: Mapping[str, tuple[str, ...]], expected: Iterable[str]) -> set[str]:
    """Puts tensors under other names where a parameter has none, drops those names, and returns their tensors."""
    doubles: set[str] = set()
    for name, others in aliases.items():
        found = [matched[other] for other in others if other in matched]
        doubles.update(found)
        if found:
            matched.setdefault(name, found[0])
    for name in set(matched).difference(expected):
        del matched[name]
    return doubles


def _of_another_layer(name: str, expected: Mapping[str, tuple[int, ...]], prefix: str) -> bool:
    """Whether a tensor that no parameter takes is called as one, but for the number of its layer."""
    forms = {_NUMBER.sub(".#.", parameter) for parameter in expected if _NUMBER.search(parameter)}
    return any(_NUMBER.search(one) and _NUMBER.sub(".#.", one) in forms for one in _candidates(name, prefix))


def read_parameters(
    weights: Weights,
    expected: Mapping[str, tuple[int, ...]],
    prefix: str,
    resized: Iterable[str] = (),
    spare: Iterable[str] = (),
    aliases: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> tuple[dict[str, npt.NDArray[np.float32]], LoadReport]:
    """f32 arrays for the parameters of `expected` (name -> shape) that the files hold, and the report.

    All shapes are compared before the first tensor is read. Parameters in `resized` may have another shape in the file
    (a head for other labels); they are returned as the file has them, for the caller to take over what fits. Tensors in
    `spare` may be there for nothing: the weight of an output layer that is the table of words. A parameter in `aliases`
    (name -> other names, which may be other parameters') takes the first of these that is there, if it is not itself.
    """
    named = {other: expected[name] for name, others in aliases.items() for other in others}
    matched = match_names(weights, {**named, **expected}, prefix)
    doubles = _stand_in(matched, aliases, expected)
    free = frozenset(resized)
    for name, source in matched.items():
        shape = weights.entry(source).shape
        if shape != tuple(expected[name]) and name not in free:
            asked = f"{list(expected[name])} ({name})"
            raise HandloomError(
                f"{weights.folder}: tensor {source!r} has shape {list(shape)}, but the configuration asks for {asked}"
            )
    if not matched:
        some = _abbreviated(tuple(weights))
        raise HandloomError(f"{weights.folder}: not one tensor belongs to this model (the file holds: {some})")
    used = set(matched.values())
    missed = used.union(spare, doubles)
    left = (name for name in weights if name not in missed)
    if beyond := next((name for name in left if _of_another_layer(name, expected, prefix)), None):
        raise HandloomError(
            f"{weights.folder}: the tensor {beyond!r} is of a layer that the configuration does not have: "
            "it asks for fewer layers than the weights hold"
        )
    report = LoadReport(
        files=tuple(path.name for path in weights.files),
        loaded=len(matched),
        new=tuple(name for name in expected if name not in matched),
        unexpected=tuple(name for name in weights if name not in missed and not name.endswith(BUFFERS)),
        renamed=sum(name != source for name, source in matched.items()),
        converted=tuple(sorted({weights.entry(source).dtype for source in used} - {"F32"})),
    )
    return {name: weights.read_f32(source) for name, source in matched.items()}, report
