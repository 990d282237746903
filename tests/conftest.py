from __future__ import annotations

import signal

# Under nohup SIGHUP is ignored, by the programs that tests start and hang up on as well.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
