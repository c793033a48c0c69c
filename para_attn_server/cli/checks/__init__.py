"""The checks of `para-attn-server doctor`. Every check only reads; none leaves anything behind."""
