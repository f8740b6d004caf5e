"""Files -> Study -> model-ready slices, without torch."""
