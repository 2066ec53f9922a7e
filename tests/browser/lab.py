"""JupyterLab in a real browser: start it, open a notebook, run all cells, move its sliders.

Both ends stay on this machine: the browser resolves no name at all, and every request it makes is written down.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from playwright.sync_api import Browser, Locator, Page, sync_playwright

CURE = "install Chromium (apt-get install chromium) or run: .venv/bin/python -m playwright install chromium"
FLAGS = [
    "--no-sandbox",  # root in a container
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
SETTINGS = {  # a quiet JupyterLab whose cells are all in the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
PROMPTS = ".jp-CodeCell .jp-InputArea-prompt"
NONE_RUNNING = """prompts => {
    const shown = [...document.querySelectorAll(prompts)].map(prompt => prompt.innerText);
    return shown.some(text => /[0-9]/.test(text)) && !shown.some(text => text.includes("*"));
}"""
FIRST_PROMPTS = """count => [...document.querySelectorAll(".jp-CodeCell")].slice(0, count)
    .flatMap(cell => [...cell.querySelectorAll(".jp-InputArea-prompt")]).map(prompt => prompt.innerText)"""
START_WATCH = """(cell, patience) => {
    const pictures = () => [...cell.querySelectorAll("img")]
        .filter(image => image.complete && image.naturalWidth).map(image => image.src).join();
    const before = pictures();
    window.newPicture = new Promise(done => {
        let start = null;
        const begin = () => { start = performance.now(); };
        for (const kind of ["keydown", "pointerdown"])
            cell.addEventListener(kind, begin, {once: true, capture: true});
        const give_up = performance.now() + patience;
        const look = () => {
            const now = pictures();
            if (start !== null && now && now !== before) done(performance.now() - start);
            else if (performance.now() > give_up) done(null);
            else requestAnimationFrame(look);
        };
        look();
    });
}"""

LAID_OUT = "width => document.querySelector('.jp-Notebook').getBoundingClientRect().right <= width"
TOO_WIDE = """() => [...document.querySelectorAll(".jp-Cell .jp-RenderedHTMLCommon")]
    .filter(text => text.scrollWidth > text.clientWidth + 1).map(text => text.innerText.slice(0, 60))"""

ANOTHER_PICTURE = """() => new Promise(done => {
    const pictures = () => [...document.querySelectorAll(".jp-Cell img")].map(image => image.src).join();
    const before = pictures();
    setTimeout(() => done(pictures() !== before), 400);
})"""


def find_chromium() -> str | None:
    """The system's browser (at best the one without windows), else the one that Playwright installed, else None."""
    names = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome"]
    return next(filter(None, map(shutil.which, names)), None) or own_chromium()


def own_chromium() -> str | None:
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) else None


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser.

    Raises:
        FileNotFoundError: if there is none, with the cure.
    """
    executable = find_chromium()
    if executable is None:
        raise FileNotFoundError(f"the browser test found no Chromium; {CURE}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def jupyterlab(folder: Path, home: Path, *, start: str = "", **more: str) -> Iterator[Callable[[str], str]]:
    """JupyterLab on ``folder`` with its settings in ``home``: yields the address of a notebook's path.

    Each address has a workspace of its own, or the tabs of earlier pages would come back. Each kernel runs ``start``
    first; ``more`` is its environment.
    """
    begins = home / "ipython/profile_default/startup/start.py"
    begins.parent.mkdir(parents=True, exist_ok=True)
    begins.write_text(start)
    for name, values in SETTINGS.items():
        file = home / f"settings/@jupyterlab/{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    token, port = secrets.token_hex(8), free_port()
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--LabApp.news_url="]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command += ["--ServerApp.shutdown_no_activity_timeout=600", "--MappingKernelManager.cull_idle_timeout=300"]
    places = {"HOME": home, "JUPYTER_CONFIG_DIR": home / "config", "JUPYTER_DATA_DIR": home / "data"}
    places |= {"JUPYTER_RUNTIME_DIR": home / "runtime", "IPYTHONDIR": home / "ipython"}
    places |= {"JUPYTERLAB_SETTINGS_DIR": home / "settings", "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces"}
    environment = os.environ | {name: str(path) for name, path in places.items()} | {"OMP_NUM_THREADS": "1"} | more
    with open(home / "server.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"{base}/api/status?token={token}", server, home / "server.log")
        yield lambda path: f"{base}/lab/workspaces/{secrets.token_hex(4)}/tree/{path}?token={token}"
        stop_kernels(base, token)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)  # a polite end waits for kernels, sometimes for ever
        server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urlopen(address, timeout=5).close()
            return
        except (URLError, OSError):
            time.sleep(0.1)
    raise TimeoutError(f"JupyterLab did not start within {seconds} s; it said:\n{log.read_text()[-2000:]}")


def stop_kernels(base: str, token: str) -> None:
    header = {"Authorization": f"token {token}"}
    with urlopen(Request(f"{base}/api/kernels", headers=header)) as answer:
        kernels = json.load(answer)
    for kernel in kernels:
        urlopen(Request(f"{base}/api/kernels/{kernel['id']}", headers=header, method="DELETE")).close()


class Notebook:
    """The notebook that is open in a page's JupyterLab, and the addresses that were asked for since it was opened."""

    def __init__(self, page: Page):
        self.page = page
        self.requests: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("websocket", lambda connection: self.requests.append(connection.url))

    def start(self, address: str) -> None:
        """Start JupyterLab with the notebook at an address."""
        self.page.goto(address)
        self.wait_until_idle()  # before that, running raises a dialog that asks for a kernel

    def close(self) -> None:
        """End its kernel and close its tab; JupyterLab stays."""
        self.menu("File", "Close and Shut Down Notebook…")
        self.page.locator(".jp-Dialog button.jp-mod-accept").click()
        self.page.locator(".jp-Notebook").wait_for(state="detached")

    def open(self, path: str) -> None:
        """Open another one in the same JupyterLab."""
        self.requests.clear()
        self.menu("File", "Open from Path…")
        self.page.locator(".jp-Dialog input").fill(path)
        self.page.keyboard.press("Enter")
        self.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        self.wait_until_idle()

    @property
    def requests_elsewhere(self) -> list[str]:
        here = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
        return [address for address in self.requests if not address.startswith(here)]

    @property
    def tracebacks(self) -> list[str]:
        texts = self.page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').all_inner_texts()
        return [text for text in texts if "Traceback" in text]

    def not_run(self, count: int = 10_000) -> int:
        """How many of the first ``count`` code cells have no number: those behind a cell that failed."""
        texts = self.page.evaluate(FIRST_PROMPTS, count)
        return sum(text.strip("[]: \n") == "" for text in texts)

    @property
    def sliders(self) -> list[Locator]:
        return self.page.locator(".jp-Cell [role=slider]").all()

    def wait_until_idle(self) -> None:
        self.page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=120_000)

    @property
    def widgets(self) -> int:
        """How many cells hold at least one slider."""
        return self.page.locator(".jp-Cell:has([role=slider])").count()

    def too_wide(self, width: int) -> list[str]:
        """How the texts begin that need a scroll bar, for a formula or a table, in a window of ``width`` pixels."""
        self.page.bring_to_front()  # a page behind another one is drawn less often
        before = self.page.viewport_size
        self.page.set_viewport_size({**before, "width": width})
        self.page.wait_for_function(LAID_OUT, arg=width)
        found = self.page.evaluate(TOO_WIDE)
        self.page.set_viewport_size(before)
        return found

    def run_all(self) -> None:
        """Forget the stored outputs and run every cell, as a reader does from the menu."""
        self.menu("Edit", "Clear Outputs of All Cells")
        self.menu("Run", "Run All Cells")
        self.wait_until_run()

    def run_up_to(self, place: int) -> None:
        """The same for all cells up to the code cell at ``place``, counted from 0."""
        self.menu("Edit", "Clear Outputs of All Cells")
        prompt = self.page.locator(".jp-CodeCell").nth(place).locator(".jp-InputPrompt")
        prompt.click()
        self.menu("Run", "Run All Above Selected Cell")
        prompt.click()
        self.page.keyboard.press("Control+Enter")
        self.wait_until_run()

    def wait_until_run(self) -> None:
        # Not asked at every frame, as is usual: that costs as much of a processor as the cells themselves.
        self.page.wait_for_function(NONE_RUNNING, arg=PROMPTS, timeout=400_000, polling=250)
        self.wait_until_idle()

    def menu(self, name: str, entry: str) -> None:
        self.page.get_by_role("menuitem", name=name, exact=True).click()
        label = self.page.locator(".lm-Menu-itemLabel").get_by_text(entry, exact=True)  # without its shortcut
        self.page.get_by_role("menuitem").filter(has=label).click()  # waits until it can be chosen

    def press(self, slider: Locator, key: str, *, patience: int = 10_000) -> float | None:
        """Milliseconds from the key to a new picture in the slider's cell; None if none came."""
        slider.focus()
        self.watch(slider, patience)
        self.page.keyboard.press(key)
        return self.page.evaluate("window.newPicture")

    def drag(self, slider: Locator) -> float | None:
        """The same for a drag of the handle with the mouse, to near the end of the track that is farther away."""
        slider.scroll_into_view_if_needed()
        handle = slider.bounding_box()
        track = slider.locator("xpath=ancestor::*[contains(@class, 'noUi-base')]").bounding_box()
        x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
        to = max(track["x"] + 0.1 * track["width"], track["x"] + 0.9 * track["width"], key=lambda end: abs(end - x))
        self.watch(slider)
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(to, y, steps=5)
        self.page.mouse.up()
        taken = self.page.evaluate("window.newPicture")
        self.wait_until_idle()
        while self.page.evaluate(ANOTHER_PICTURE):  # a drag asks for several pictures; the last is still to come
            self.wait_until_idle()
        return taken

    def watch(self, slider: Locator, patience: int = 10_000) -> None:
        self.page.bring_to_front()
        cell = slider.locator("xpath=ancestor::*[contains(concat(' ', @class, ' '), ' jp-Cell ')]")
        cell.evaluate(START_WATCH, patience)


def eight_moves(notebook: Notebook, slider: Locator) -> Iterator[float]:
    """Milliseconds to the new picture, for a key to one side and back, four times; each is pressed when asked for.

    Raises:
        AssertionError: if a key changes no picture.
    """
    keys = ["ArrowLeft", "ArrowRight"]
    if slider.get_attribute("aria-valuenow") == slider.get_attribute("aria-valuemin"):
        keys.reverse()
    for key in keys * 4:
        taken = notebook.press(slider, key)
        assert taken is not None, f"a key on slider {slider.get_attribute('aria-valuetext')} changed no picture"
        yield taken
