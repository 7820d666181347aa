"""For people who write tasks of their own: one suite that every task passes, Handloom's as well as theirs.

from handloom.testing import check_task
"""

from __future__ import annotations

from handloom.testing.suite import CHECKS, check_task
from handloom.testing.subject import CheckFailed, DoesNotApply, Subject

__all__ = ["CHECKS", "CheckFailed", "DoesNotApply", "Subject", "check_task"]
