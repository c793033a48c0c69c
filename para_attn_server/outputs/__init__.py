"""Where outputs may be written and how old ones are removed. `folder` is the local folder that ships."""
