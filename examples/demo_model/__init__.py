"""The embedded demo model: a tiny FluxPipeline trained on pictures of shapes drawn on the fly."""
