"""What an image is made of, and the digest of that."""

import hashlib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


def source_paths(service: str) -> tuple[str, ...]:
    """Folders and patterns of the files that services/Dockerfile copies into an image, and itself."""
    folders = (f"services/{name}" for name in ("contracts", "forecasting", "http", service))
    return (*folders, "services/*.py", "services/Dockerfile")


def source_digest(root: Path, service: str) -> str:
    """SHA-256 over the sources of an image, `sha256:...`.

    Raises:
        FileNotFoundError: one of the paths does not exist.
    """
    digest = hashlib.sha256()
    for path in source_paths(service):
        found = sorted(root.glob(path))
        if not found:
            raise FileNotFoundError(root / path)
        for file in (each for start in found for each in (start, *sorted(start.rglob("*")))):
            if file.is_file() and file.parent.name != "__pycache__":
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                digest.update(f"{file.relative_to(root).as_posix()} {content}\n".encode())
    return f"sha256:{digest.hexdigest()}"
