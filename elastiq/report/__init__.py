"""What elastiq says: to the log, to `status`, to metrics."""
