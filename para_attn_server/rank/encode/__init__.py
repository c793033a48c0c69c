"""Encodes what predict has returned, in rank zero: pictures, videos, audio, text, JSON and bytes.

`parts.py` says what a returned value consists of; the other files each encode one kind. Nothing here knows of jobs.
"""
