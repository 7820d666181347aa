"""A folder for each label, a file for each text."""

from __future__ import annotations

import hashlib
from pathlib import Path

from handloom.data.examples import Dataset, Source, TextExample
from handloom.data.files import NO_TEXT, is_text, read_text, some_of
from handloom.data.labels import ONE
from handloom.data.options import Options, refuse
from handloom.errors import HandloomError, Unread

_SPLITS = {"train", "valid", "validation", "dev", "test"}


def read_folder(path: Path, options: Options) -> Dataset[TextExample]:
    """`path/LABEL/*.txt` in the order of names; without labels, the files of `path` itself."""
    found = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in found if entry.is_dir()]
    if options.labelled and {folder.name.lower() for folder in folders} & _SPLITS:
        splits = ", ".join(folder.name for folder in folders)
        raise HandloomError(f"{path} holds splits ({splits}), not labels; name one of them, such as {folders[-1]}.")
    if options.labelled and not folders:
        raise Unread(f"{path} should hold a folder for each label, and in it a file for each text.")
    places = [(folder.name, folder) for folder in folders] if folders else [(None, path)]
    examples, digest, empty, unread = [], hashlib.sha256(), [], [e for e in found if folders and not e.is_dir()]
    binary: list[Path] = []
    form = options.labels.decided([])
    for label, folder in places:
        there = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        unread += [entry for entry in there if label is not None and not entry.is_file()]
        unread += [] if there else [folder]
        for file in (entry for entry in there if entry.is_file()):
            name = file.relative_to(path).as_posix()
            if not file.stat().st_size:
                empty.append(str(file))
                continue
            if options.encoding is None and not is_text(file):
                binary.append(file)
                continue
            read = read_text(file, options.encoding)
            digest.update(f"{name}\0{read.sha256}\n".encode())
            label_here = form.read(label, "the folder's name", str(file)) if options.labelled else None
            examples.append(TextExample(read.text, None, label_here, {"file": name}, str(file)))
    if options.blanks == "error":
        refuse(empty, "an empty file", "Fill or remove them.")
    unread += [Path(file) for file in empty]
    if not examples:
        raise HandloomError(f"{path} holds no files with text.")
    notes = ("text: a file each", *(("label: the name of its folder",) if options.labelled else ()))
    if unread:
        notes = (*notes, f"not read, being no files in a label's folder, or empty: {some_of(unread, path)}")
    if binary:
        notes = (*notes, f"{NO_TEXT}: {some_of(binary, path)}")
    source = Source(str(path), digest.hexdigest(), "folder")
    return Dataset(tuple(examples), source, notes, problem=form.problem or ONE, order=form.order)
