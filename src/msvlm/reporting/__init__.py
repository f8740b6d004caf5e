"""Study -> Report -> documents."""
