"""Pure numpy: what raw samples, counters and tool outputs say, with intervals. No I/O, no clock."""
