"""The untrusted side: where submissions run. Nothing in here may reach a hidden test, a draw or an assignment.

host      the trusted end: starts the sandbox, asks its workers, ends them
launch    from root to nobody, before anything else
zygote    imports torch once, inside; forks one worker a submission
confine   the locks that the kernel offers
worker    runs a submission's cells, answers calls
frames    the wire between the two ends
waiting   how long a process has waited for a processor
"""
