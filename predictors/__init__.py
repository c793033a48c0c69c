"""Predictors that ship with para-attn-server: plain diffusers code, meant to be read and copied."""
