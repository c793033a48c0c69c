"""Where outputs may be written and what becomes of them. `folder` is the local folder that ships."""
