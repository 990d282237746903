"""What a live run needs between its cameras and its labels: ages, deadlines, degraded modes, alarms, recordings."""
