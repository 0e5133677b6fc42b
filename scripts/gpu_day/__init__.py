"""The rooms of scripts/gpu_day.py: `runner` runs parts within a time limit, `shapes` makes models,
`parts` measures, `peers` is run beside other tools, `table` writes what was found."""
