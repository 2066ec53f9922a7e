"""Runs the cells of a notebook: nbclient's client, which hears the kernel's answer also when a widget speaks to it.

As it comes, nbclient waits for such an answer until the cell's time is over (its issue 312): what ``with output:``
shows is told to the kernel past the event loop, and that uses up the signal of an answer that came at this moment.
"""

from typing import Any

import zmq
from nbclient import NotebookClient
from nbclient.output_widget import OutputWidget


class HearingOutput(OutputWidget):
    """An output widget that looks, after each message, for an answer whose signal the message may have used up."""

    def send(self, *args: Any, **kwargs: Any) -> None:
        super().send(*args, **kwargs)
        self.kernel_client.shell_channel.socket.get(zmq.EVENTS)  # wakes up who waits, if there is one


class Client(NotebookClient):
    """``NotebookClient`` with output widgets that do not make it miss an answer."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.widget_registry["@jupyter-widgets/output"]["OutputModel"] = HearingOutput
