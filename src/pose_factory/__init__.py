"""Pose Factory: rigged characters in, multi-view footage with exact ground truth and tracker scores out."""
