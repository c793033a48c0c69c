"""The error of everything that decodes."""

from __future__ import annotations


class Undecodable(Exception):
    """The file cannot be decoded; the text says why, for the client."""
