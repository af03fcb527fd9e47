"""Run units of work: the runner hands tasks to an executor, the executor to slots, and a slot to worker processes."""
