"""Studies and reports -> StudyBatch."""
