"""Pseudonyms of patients, and the search for what would identify them."""
