"""Synthetic studies with known ground truth: anatomy -> voxels, findings and report."""
