"""Holds up whoever reads a file, as a file system that does not answer: the kernel has them wait
for the holder of a lease, at most /proc/sys/fs/lease-break-time (fcntl(2), F_SETLEASE)."""

import fcntl
import os
import signal
import sys

F_SETSIG = 10

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(file, F_SETSIG, signal.SIGUSR1)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
signal.sigwait({signal.SIGUSR1})
print("wanted", flush=True)
sys.stdin.read()
