"""What runs in the ranks: loading a predictor, running jobs, step control. The one place that imports torch."""
