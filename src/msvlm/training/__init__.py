"""The training loop, the stages, and what is calibrated after them."""
