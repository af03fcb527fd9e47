"""How units of work run: the runner, executors, slots of killable workers."""
