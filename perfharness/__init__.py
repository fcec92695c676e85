"""Link validation and performance test harness for dedicated cloud circuits."""

__version__ = "0.1.0"
