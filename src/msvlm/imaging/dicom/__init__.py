"""DICOM files -> Series, and a synthetic Study -> DICOM files."""
