"""What every job runs in: its log, locks, files, records and devices."""
