"""What goes wrong for a reason that the person at the keyboard can do something about."""

from __future__ import annotations


class RecipeError(Exception):
    """Bad input or a missing prerequisite; the message names it and says what is allowed."""
