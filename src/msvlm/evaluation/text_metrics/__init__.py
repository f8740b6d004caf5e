"""Scores of the texts themselves: how similar generated and reference reports are, word for word."""
