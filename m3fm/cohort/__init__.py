"""The sources of exams, one adapter each, the labels of the exams, and the split of the patients."""
