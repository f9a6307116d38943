"""The questions: the bank, the grammar of other wordings, and retrieval from clinical text."""
