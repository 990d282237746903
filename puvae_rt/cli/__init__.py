"""The command `puvae`: one module per sub-command under `commands`, and what all of them share.

Library code imports nothing from here but `entry`, which forwards `python -m MODULE` to the sub-command.
"""
