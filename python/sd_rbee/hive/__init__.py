"""What the worker tells a hive and a queen."""

from sd_rbee.hive.client import HiveClient, Report

__all__ = ["HiveClient", "Report"]
