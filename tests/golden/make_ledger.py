#!/usr/bin/env python3
"""Makes tests/golden/ledger/*.json: bills by exact fractions, that ledger/ must reproduce digit by digit.

usage: make_ledger.py      needs Python alone; the arithmetic is tests/live/ledger_oracle.py
"""
import os, subprocess, sys

here = os.path.dirname(os.path.abspath(__file__))
subprocess.run([sys.executable, os.path.join(here, "..", "live", "ledger_oracle.py"), "--record", os.path.join(here, "ledger")], check=True)
