"""Executors start ranks somewhere and carry messages to and from them: `local` on this machine."""
