"""The tasks, the clinical data elements, the records of an exam, and the sentences made of both."""
