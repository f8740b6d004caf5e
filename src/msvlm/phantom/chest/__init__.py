"""A synthetic chest CT: anatomy, lesions, scanner, and the ground truth of what is visible."""
