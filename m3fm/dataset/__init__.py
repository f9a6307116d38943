"""Datasets: curated, validated, versioned, and read as questions with answers."""
