"""The files of uploads on disk: received, kept by digest, and removed."""
