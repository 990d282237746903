"""The package's version, told once: the installer and every module read it here."""

__version__ = "0.2.0"
