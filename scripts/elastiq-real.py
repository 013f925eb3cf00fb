#!/usr/bin/env python3
"""Run elastiq in the foreground."""
