"""Voxels: reading CT, checking its geometry, finding its regions, and the one preprocessing."""
