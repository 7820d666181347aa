"""The errors that a user can meet. Everything else is a defect of Handloom."""

from __future__ import annotations


class HandloomError(Exception):
    """What was wrong, where, and what would be right. The command line prints it and exits with 1."""

    exit_code = 1


class Unread(HandloomError):
    """Rows are there, and are not what the task reads."""


class UsageError(HandloomError):
    """The request itself was wrong: an unknown option, name or combination. The command line exits with 2."""

    exit_code = 2
