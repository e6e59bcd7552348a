"""The five benchmarks of the paper: tasks for lm-eval, a grader, and measures with intervals over problems."""
