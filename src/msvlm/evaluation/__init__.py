"""Reports against references, with confidence intervals and trivial baselines."""
