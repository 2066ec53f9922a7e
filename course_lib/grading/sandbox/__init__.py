"""The untrusted side: where submissions run. Nothing in here may reach a hidden test, a draw or an assignment.

host      the trusted end: starts the sandbox, asks its workers, ends them
launch    from root to nobody, before anything else
zygote    imports torch once, inside; forks one worker a submission
confine   the locks that the kernel offers
worker    runs a submission's cells, answers calls
nosy      what a submission asks for that is not its own
frames    the wire between the two ends
waiting   how long a process has waited for a processor

No control group is used: few machines and no plain container delegate one, and what a submission may use must be the
same everywhere. Instead the doors are closed. Memory: a limit of address space for each process, and under bubblewrap
the sum over all processes of a submission, looked at four times a second; what would be no process's memory (memfd,
System V segments, message queues, socket pairs, file locks) cannot be made. Files: 64 MB and 8192 of them under
bubblewrap, none under Landlock. Processors: deadlines that follow queueing; under bubblewrap the processes that a
worker starts come last, under Landlock it can start none.
"""
