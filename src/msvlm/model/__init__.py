"""StudyBatch -> findings, loss, or tokens of a report."""
