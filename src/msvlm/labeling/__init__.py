"""Report text -> findings, by rule."""
