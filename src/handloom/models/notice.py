"""What is said before anything is downloaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Notice:
    """Name, size in bytes, the places that are asked in turn, licence, and where it will be kept."""

    name: str
    size: int
    sources: tuple[str, ...]
    licence: str
    kept_in: str

    def lines(self) -> list[str]:
        """For a person."""
        return [
            f"{self.name}: {human_size(self.size)} to download",
            f"  from     {' or else '.join(self.sources)}",
            f"  licence  {self.licence}",
            f"  kept in  {self.kept_in}",
        ]


def human_size(size: int) -> str:
    """12 bytes, 4.2 kB, 83.5 MB, 1.2 GB."""
    value = float(size)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
