"""What is asked and recorded: the tasks, the clinical data elements, and the records of an exam."""
