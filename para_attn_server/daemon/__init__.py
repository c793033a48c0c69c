"""The daemon: the parent process of everything. Never imports torch, nor a predictor."""
