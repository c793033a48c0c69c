"""A dialect as somebody would add it: this folder, and its line in `http/dialects.py`."""
