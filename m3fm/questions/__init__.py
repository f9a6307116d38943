"""How tasks are asked: the question bank, the grammar of other wordings, and retrieval from clinical text."""
