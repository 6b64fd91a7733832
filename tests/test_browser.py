"""The real pages in a headless Chromium that reaches no other host."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import nbformat
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from lazyrich import figures
from lazyrich.publish import Result
from lazyrich.publish.chapter import chapters, pages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMEDRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER),
        reason="NO BROWSER, pages unchecked: install chromium and chromium-driver",
    ),
]
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--window-size=1300,1000",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
# Every formula is typeset, and none of it as an error.
MATHS = """
const done = arguments[arguments.length - 1];
const report = () => done({
  raw: [...document.querySelectorAll("article .math")]
    .filter((node) => !node.querySelector("mjx-container") && node.textContent.trim())
    .map((node) => node.textContent.slice(0, 80)),
  wrong: [...document.querySelectorAll(
    "mjx-merror, mjx-container [data-mjx-error], mjx-mtext[style*='red']"
  )].map((node) => node.textContent.slice(0, 80)),
  formulas: document.querySelectorAll("mjx-container").length,
});
if (window.MathJax?.startup?.promise) MathJax.startup.promise.then(report);
else report();
"""
BROKEN_IMAGES = """
return [...document.images].filter((i) => !(i.complete && i.naturalWidth > 0))
  .map((i) => i.src.slice(0, 120));
"""
SHOWN = """
const frames = [...arguments[0].querySelectorAll("img")];
return [frames.findIndex((f) => !f.hidden), frames.filter((f) => !f.hidden).length,
        arguments[0].querySelector("output").value];
"""


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for switch in SWITCHES:
        options.add_argument(switch)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability(
        "goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"}
    )
    chrome = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    chrome.set_script_timeout(60)
    # Chromium's own start page asks for things; none of that is a page of ours.
    chrome.get("about:blank")
    time.sleep(1)
    yield chrome
    chrome.quit()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def site(built: Result) -> Iterator[dict[str, str]]:
    """Addresses of the pages: over a local server, and from disk."""
    handler = partial(Quiet, directory=str(built.tree.html))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield {
        "http": f"http://127.0.0.1:{server.server_port}/",
        "file": built.tree.html.as_uri() + "/",
    }
    server.shutdown()
    server.server_close()
    thread.join()


def open_page(driver: webdriver.Chrome, address: str) -> list[str]:
    """Load a page; returns complaints: foreign requests, failures, console errors."""
    driver.get_log("performance")
    driver.get_log("browser")
    driver.get(address)
    WebDriverWait(driver, 30).until(
        lambda d: d.execute_script("return document.readyState") == "complete"
    )
    driver.execute_async_script(MATHS)
    return complaints(driver)


def complaints(driver: webdriver.Chrome) -> list[str]:
    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        parameters = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            address = urlsplit(parameters["request"]["url"])
            if address.scheme in {"http", "https", "ws", "wss"} and (
                address.hostname != "127.0.0.1"
            ):
                found.append(f"asks {address.geturl()[:200]}")
        elif message["method"] == "Network.responseReceived":
            response = parameters["response"]
            if response["status"] >= 400:
                found.append(f"{response['status']} for {response['url'][:200]}")
        elif message["method"] == "Network.loadingFailed" and not parameters.get(
            "canceled"
        ):
            found.append(f"failed to load: {parameters.get('errorText')}")
    for entry in driver.get_log("browser"):
        if entry["level"] == "SEVERE":
            found.append(f"console: {entry['message'][:300]}")
    return found


def phone(driver: webdriver.Chrome) -> None:
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)


@pytest.fixture(autouse=True)
def desktop(driver: webdriver.Chrome) -> Iterator[None]:
    yield
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def addresses(built: Result) -> list[str]:
    return [f"{page}.html" for page in pages(built.tree.toc)]


@pytest.mark.parametrize("way", ["http", "file"])
def test_every_page_loads_whole_and_alone(
    driver: webdriver.Chrome, site: dict[str, str], built: Result, way: str
) -> None:
    formulas = 0
    for page in addresses(built):
        assert open_page(driver, site[way] + page) == [], page
        assert driver.execute_script(BROKEN_IMAGES) == [], page
        maths = driver.execute_async_script(MATHS)
        assert maths["raw"] == [], page
        assert maths["wrong"] == [], page
        formulas += maths["formulas"]
    assert formulas > 0


def test_pages_fit_a_phone(
    driver: webdriver.Chrome, site: dict[str, str], built: Result
) -> None:
    phone(driver)
    for page in addresses(built):
        open_page(driver, site["http"] + page)
        width = driver.execute_script("return document.documentElement.scrollWidth")
        assert width <= PHONE["width"], f"{page} is {width} pixels wide"


def test_dark_mode(driver: webdriver.Chrome, site: dict[str, str]) -> None:
    open_page(driver, site["http"] + "book/intro.html")
    theme = "return document.documentElement.dataset.theme"
    ground = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g)"
    seen = {}
    for _ in range(3):  # the button goes round: automatic, light, dark
        driver.find_element(By.CSS_SELECTOR, ".theme-switch-button").click()
        light = sum(int(part) for part in driver.execute_script(ground)[:3])
        seen[driver.execute_script(theme)] = light
    assert seen["dark"] < 150 < 600 < seen["light"]


def move(driver: webdriver.Chrome, slider: WebElement) -> None:
    """Move a slider by the keyboard and check that exactly one new frame is shown."""
    choice = slider.find_element(By.CSS_SELECTOR, "input[type=range]")
    start, count, label = driver.execute_script(SHOWN, slider)
    assert count == 1
    most = int(choice.get_attribute("max") or 0)
    key = Keys.ARROW_RIGHT if start < most else Keys.ARROW_LEFT
    choice.send_keys(key)
    now, count, other = driver.execute_script(SHOWN, slider)
    assert abs(now - start) == 1
    assert count == 1
    assert other != label
    assert choice.get_attribute("aria-valuetext") == other


def test_sliders_of_the_book_move_by_keyboard(
    driver: webdriver.Chrome, site: dict[str, str], built: Result
) -> None:
    for page in addresses(built):
        open_page(driver, site["file"] + page)
        for slider in driver.find_elements(By.CSS_SELECTOR, ".lr-slider"):
            move(driver, slider)
        assert complaints(driver) == [], page


def test_sliders_are_independent(driver: webdriver.Chrome, tmp_path: Path) -> None:
    views = []
    for name in ("one", "two"):
        frames = []
        for height in range(3):
            figure, axes = figures.new(height=1.5)
            axes[0, 0].axhline(height)
            frames.append(figure)
        made = figures.Slider(frames, ["a", "b", "c"], name, "A line")
        views.append(made.to_html())
    page = tmp_path / "page.html"
    text = f'<!DOCTYPE html><html lang="en"><title>x</title>{"".join(views)}</html>'
    page.write_text(text, encoding="utf-8")
    assert open_page(driver, page.as_uri()) == []
    first, second = driver.find_elements(By.CSS_SELECTOR, ".lr-slider")
    move(driver, first)
    move(driver, first)
    assert driver.execute_script(SHOWN, first) == [2, 1, "c"]
    assert driver.execute_script(SHOWN, second) == [0, 1, "a"]
    assert driver.execute_script(BROKEN_IMAGES) == []


def test_two_sliders_share_their_frames(
    driver: webdriver.Chrome, tmp_path: Path
) -> None:
    frames = []
    for height in range(6):
        figure, axes = figures.new(height=1.5)
        axes[0, 0].axhline(height)
        frames.append(figure)
    axes = {"row": ["a", "b"], "column": ["x", "y", "z"]}
    made = figures.Sliders(frames, axes, [f"line {k}" for k in range(6)])
    page = tmp_path / "page.html"
    text = f'<!DOCTYPE html><html lang="en"><title>x</title>{made.to_html()}</html>'
    page.write_text(text, encoding="utf-8")
    assert open_page(driver, page.as_uri()) == []
    row, column = driver.find_elements(By.CSS_SELECTOR, ".lr-sliders input")
    column.send_keys(Keys.ARROW_RIGHT)
    row.send_keys(Keys.ARROW_RIGHT)
    seen = [img.is_displayed() for img in driver.find_elements(By.TAG_NAME, "img")]
    assert seen == [k == 4 for k in range(6)]
    said = [out.text for out in driver.find_elements(By.TAG_NAME, "output")]
    assert said == ["b", "y"]
    assert [e.get_attribute("aria-valuetext") for e in (row, column)] == said


def test_cells_of_the_phase_map_show_their_frame(
    driver: webdriver.Chrome, site: dict[str, str]
) -> None:
    open_page(driver, site["file"] + "book/alpha_sweep.html")
    (phase_map,) = driver.find_elements(By.CSS_SELECTOR, ".lr-map")
    cells = phase_map.find_elements(By.CSS_SELECTOR, "input[type=radio]")
    _, count, label = driver.execute_script(SHOWN, phase_map)
    assert count == 1
    driver.execute_script("arguments[0].scrollIntoView()", phase_map)
    cells[0].click()
    assert driver.execute_script(SHOWN, phase_map)[:2] == [0, 1]
    cells[0].send_keys(Keys.ARROW_RIGHT)
    now, count, other = driver.execute_script(SHOWN, phase_map)
    assert (now, count) == (1, 1)
    assert other != label
    assert complaints(driver) == []


def test_search_finds_a_function(
    driver: webdriver.Chrome, site: dict[str, str]
) -> None:
    open_page(driver, site["http"] + "search.html?q=alignment")
    found = WebDriverWait(driver, 20).until(
        lambda d: d.find_elements(By.CSS_SELECTOR, "ul.search li a")
    )
    assert any("reference" in (link.get_attribute("href") or "") for link in found)


def test_code_can_be_copied(
    driver: webdriver.Chrome, site: dict[str, str], built: Result
) -> None:
    for page in addresses(built):
        open_page(driver, site["http"] + page)
        blocks = driver.execute_script(
            "return document.querySelectorAll('article div.highlight pre').length"
        )
        buttons = driver.find_elements(By.CSS_SELECTOR, "article button.copybtn")
        assert len(buttons) == blocks, page
        if buttons:
            driver.execute_script("arguments[0].click()", buttons[0])
            WebDriverWait(driver, 5).until(
                lambda d, b=buttons[0]: "success" in (b.get_attribute("class") or "")
            )


def test_the_notebook_of_a_chapter_can_be_downloaded(
    driver: webdriver.Chrome, site: dict[str, str], built: Result
) -> None:
    tree = built.tree
    for chapter in chapters(tree.root, tree.toc).values():
        open_page(driver, f"{site['http']}{chapter.page}.html")
        link = driver.find_element(By.CSS_SELECTOR, "a.btn-download-source-button")
        with urlopen(link.get_attribute("href") or "", timeout=10) as answer:
            notebook = nbformat.reads(answer.read().decode(), as_version=4)
        assert any(cell.get("outputs") for cell in notebook.cells)


def test_nothing_is_sent_while_a_page_is_read(
    driver: webdriver.Chrome, site: dict[str, str]
) -> None:
    open_page(driver, site["http"] + "book/intro.html")
    driver.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    time.sleep(1)
    assert complaints(driver) == []
