"""What a child process must make anew after os.fork: locks that another thread may have held, and worker threads."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Something that a fork leaves broken in the child."""

    def renew(self) -> None:
        """Called in the child, where only the thread that forked exists."""


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(thing: Renewable) -> None:
    """Has `thing.renew()` called in every child process for as long as the thing lives."""
    _renewables.add(thing)


def _renew_all() -> None:
    for thing in list(_renewables):
        thing.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
