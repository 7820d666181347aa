"""For people who write tasks of their own: one suite that every task passes, Handloom's as well as theirs.

from handloom.testing import check_task
"""

from __future__ import annotations

from handloom.testing.subject import CheckFailed, DoesNotApply, Subject
from handloom.testing.suite import CHECKS, check_task

__all__ = ["CHECKS", "CheckFailed", "DoesNotApply", "Subject", "check_task"]
