"""The process around the loop: lanes for calls, logs, the pid file."""
