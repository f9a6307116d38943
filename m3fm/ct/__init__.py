"""Voxels: reading CT, checking geometry, finding regions, and the shared preprocessing."""
