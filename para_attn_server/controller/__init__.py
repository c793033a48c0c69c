"""The controller: the process that starts and outlives all others. Never imports torch, nor a predictor."""
