"""One module per sub-command: its docstring is the help, `Options` the arguments, `run` the work.

They import nothing heavy before `run`, so that --help is quick and needs no optional package.
"""
