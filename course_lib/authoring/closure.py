"""What a result follows from: the files that a source imports, directly or through others, and the data they read.

Outputs of notebooks and marks are kept as long as these files say the same, and made again when one does not.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from course_lib.authoring.sources import parse


def library_hash(source: Path, root: Path) -> str:
    """A hash of what the outputs of a lesson or solution follow from, beside its own cells."""
    return content_hash(closure([source], root) - {source}, root)[:16]


def library_files(source: Path, root: Path) -> dict[str, str]:
    """What ``library_hash`` is made of: a short hash of each file, by its name."""
    files = sorted(closure([source], root) - {source})
    return {path.relative_to(root).as_posix(): content_hash([path], root)[:8] for path in files}


def content_hash(paths: Iterable[Path], root: Path) -> str:
    """A hash of the names and contents of files below ``root``, the same in a checkout with other line ends."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        for part in (path.relative_to(root).as_posix().encode(), as_stored(path.read_bytes())):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def as_stored(content: bytes) -> bytes:
    """The bytes that git keeps: a text has line feeds alone; what holds a zero byte is no text."""
    return content if b"\0" in content else content.replace(b"\r\n", b"\n")


def closure(sources: Iterable[Path], root: Path) -> set[Path]:
    """The sources and every file below ``root`` that they reach."""
    found: set[Path] = set()
    waiting, kept = set(sources), kept_beside(root)
    while waiting:
        path = waiting.pop()
        found.add(path)
        if path.suffix == ".py":
            names, texts = mentions(path, path.read_bytes())
            waiting |= (modules(names, root) | data(texts, kept)) - found
    return found


@functools.cache
def mentions(path: Path, content: bytes) -> tuple[set[str], set[str]]:
    """The names that a file imports, and its texts. Most notebooks reach the same files: each is parsed once."""
    tree = parse(path)
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return imported(tree), {text for text in texts if "." in text}


def imports(tree: ast.Module, root: Path) -> set[Path]:
    """The files below ``root`` that one file imports: modules, and the packages that they lie in."""
    return modules(imported(tree), root)


def imported(tree: ast.Module) -> set[str]:
    """The dotted names that one file imports; of what comes ``from`` a module, any may be a module itself."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def modules(names: set[str], root: Path) -> set[Path]:
    dotted = [name.split(".") for name in names]
    prefixes = {"/".join(words[:n]) for words in dotted for n in range(2, len(words) + 1)}
    paths = {root / f"{prefix}{end}" for prefix in prefixes for end in (".py", "/__init__.py")}
    return {path for path in paths if path.exists()}


def kept_beside(root: Path) -> list[Path]:
    """The files of the library that are no code: weights, photographs, texts."""
    files = (root / "course_lib").rglob("*.*")
    return [path for path in files if path.suffix not in (".py", ".pyc") and path.is_file()]


def data(texts: set[str], kept: list[Path]) -> set[Path]:
    """The files that one module names, whole (``"vit.npz"``) or by their end (``f"{name}.jpg"``)."""
    return {path for path in kept if any(end.endswith(path.suffix) and path.name.endswith(end) for end in texts)}
