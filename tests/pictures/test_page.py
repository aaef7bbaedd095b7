"""The interactive page in a real browser: headless Chromium on files, without network access."""

from __future__ import annotations

import json
import re
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from neuromancer.printable import escape
from tests.pictures.graphs import HOSTILE, hostile, long_chain, network, recurrence, u_net

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.actions.action_builder import ActionBuilder  # noqa: E402
from selenium.webdriver.common.actions.pointer_input import PointerInput  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium or its driver is not installed")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1300,850"
).split()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    yield driver
    driver.quit()


class Page:
    """A page in the browser."""

    def __init__(self, driver, path: Path) -> None:
        self.driver = driver
        driver.get(path.as_uri())
        self.settle()

    def settle(self) -> None:
        """Wait for two frames, so that everything is drawn."""
        self.driver.execute_async_script(
            "const d = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(d))"
        )

    def all(self, selector: str) -> list:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def count(self, selector: str) -> int:
        return len(self.all(selector))

    def text(self, selector: str) -> str:
        return self.driver.execute_script(
            "return document.querySelector(arguments[0]).textContent.toWellFormed()", selector
        )

    def names(self, selector: str) -> set[str]:
        """Return the names of the drawn nodes that match a selector."""
        script = "return [...document.querySelectorAll(arguments[0])].map(n => n.querySelector('.name').textContent)"
        return set(self.driver.execute_script(script, selector))

    def node(self, name: str):
        script = (
            "return [...document.querySelectorAll('.node')]"
            ".find(n => n.getAttribute('aria-label').startsWith(arguments[0] + ','))"
        )
        return self.driver.execute_script(script, name)

    def click(self, name: str) -> None:
        ActionChains(self.driver).move_to_element(self.node(name)).click().perform()
        self.settle()

    def keys(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()
        self.settle()

    def view(self) -> tuple[float, ...]:
        """Return position and zoom."""
        return tuple(float(n) for n in re.findall(r"-?[\d.]+", self.one("#view").get_attribute("transform")))

    def choose(self, what: str, value: str) -> None:
        self.one(f"#{what} option[value={value}]").click()
        self.settle()

    def log(self, kind: str) -> list:
        return self.driver.get_log(kind)


@pytest.fixture
def show(browser, tmp_path):
    """Open the page of a model; afterwards check for console messages and requests other than for the file."""
    opened: list[str] = []

    def open_page(model, **options) -> Page:
        path = tmp_path / f"page{len(opened)}.html"
        model.plot(path, **options)
        opened.append(path.as_uri())
        return Page(browser, path)

    browser.get_log("browser"), browser.get_log("performance")
    yield open_page
    assert browser.get_log("browser") == []
    assert requests(browser) <= set(opened)


def requests(browser) -> set[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    # The browser's own pages and embedded data do not count as requests.
    return {url for url in sent if not url.startswith(("about:", "chrome:", "data:"))}


@contextmanager
def media(browser, **features: str):
    listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": listed})
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_everything_is_drawn(show) -> None:
    model = network()
    page = show(model)
    assert page.driver.title == "model drawn network"
    assert page.names(".node") == set(model.nodes) and page.count("#edges path") == 8
    totals = page.text("#totals")
    assert "nodes9" in totals and "trainable parameters198" in totals and "strides2 × 2" in totals
    left, top, width, height = (page.one("#canvas").rect[k] for k in ("x", "y", "width", "height"))
    for box in page.all(".node"):
        r = box.rect
        assert r["x"] >= left and r["y"] >= top
        assert r["x"] + r["width"] <= left + width and r["y"] + r["height"] <= top + height


def test_click_opens_details_and_marks_relatives(show) -> None:
    model = network()
    page = show(model)
    page.click("second")
    node = model["second"]
    assert page.text("#panel h2") == "second"
    rows = [[c.text for c in r.find_elements(By.CSS_SELECTOR, "th, td")] for r in page.all("#axes tbody tr")]
    fov, stride, offset = node.shape.fov[0], int(node.shape.strides[0]), node.shape.offsets[0]
    assert rows[:2] == [["b", "any", "", "", ""], ["f", "4", "", "", ""]]
    assert rows[2] == ["y", str(node.shape["y"]), str(stride), str(fov), str(offset)]
    parameters = [
        [c.text for c in r.find_elements(By.CSS_SELECTOR, "th, td")] for r in page.all("#parameters tbody tr")
    ]
    assert parameters == [["w", "4 × 4 × 3 × 3", "144"], ["b", "4\nconstant", "4"]]
    panel = page.text("#panel")
    assert "144 trainable" in panel and "filter_shape" in panel and "(3, 3)" in panel and "3 above" not in panel
    assert "2 above, 5 below" in panel
    assert page.names(".node.up") == {"image", "first"}
    assert page.names(".node.down") == {"third", "scores", "probs", "nll", "loss"}
    assert page.names(".node.selected") == {"second"} and page.count("#edges path.up") == 2
    page.all("#panel .links button.up")[0].click()
    assert page.text("#panel h2") == "first"
    ActionChains(page.driver).move_to_element_with_offset(page.one("#canvas"), -400, 300).click().perform()
    assert page.text("#panel h2") == "Overview" and not page.names(".node.selected")


def test_search(show) -> None:
    page = show(network())
    page.keys("/")
    page.keys("CONV")
    assert page.names(".node.match") == {"first", "second", "third", "scores"}
    assert page.text("#found") == "4 of 9" and page.count("#view.searching") == 1
    page.keys(Keys.ENTER)
    assert page.text("#panel h2") == "first"
    page.keys(Keys.ENTER)
    assert page.text("#panel h2") == "second"
    page.keys(Keys.SHIFT, Keys.ENTER)
    page.keys(Keys.NULL, Keys.ESCAPE)
    assert page.text("#panel h2") == "Overview" and page.count("#view.searching") == 0 and page.text("#found") == ""


def test_zoom_and_pan(show) -> None:
    page = show(network())
    start = page.view()
    page.one("#in").click()
    page.settle()
    assert page.view()[2] == pytest.approx(1.25 * start[2], rel=1e-3)
    page.one("#fit").click()
    page.settle()
    assert page.view()[2] <= start[2]
    fitted, canvas = page.view(), page.one("#canvas")
    ActionChains(page.driver).move_to_element_with_offset(canvas, -300, 200).click_and_hold().move_by_offset(
        50, 30
    ).release().perform()
    page.settle()
    moved = page.view()
    assert moved[0] - fitted[0] == pytest.approx(50, abs=1) and moved[1] - fitted[1] == pytest.approx(30, abs=1)
    wheel = "arguments[0].dispatchEvent(new WheelEvent('wheel', {deltaY: -400, clientX: 300, clientY: 300}))"
    rect = canvas.rect
    point = [(300 - rect["x"] - moved[0]) / moved[2], (300 - rect["y"] - moved[1]) / moved[2]]
    page.driver.execute_script(wheel, canvas)
    page.settle()
    x, y, k = page.view()
    assert k > 1.5 * moved[2]
    # The point under the pointer stays in place.
    assert point[0] * k + x == pytest.approx(300 - rect["x"], abs=1)
    assert point[1] * k + y == pytest.approx(300 - rect["y"], abs=1)


def test_pinching_with_two_fingers(show) -> None:
    page = show(network())
    canvas, before = page.one("#canvas"), page.view()
    chain = ActionBuilder(page.driver, mouse=PointerInput("touch", "one"))
    other = chain.add_pointer_input("touch", "two")
    for finger, start, end in ((chain.pointer_action, -40, -120), (None, 40, 120)):
        source = finger.source if finger else other
        source.create_pointer_move(x=start, y=0, origin=canvas)
        source.create_pointer_down()
        source.create_pointer_move(duration=80, x=end, y=0, origin=canvas)
        source.create_pointer_up(0)
    chain.perform()
    page.settle()
    assert page.view()[2] > 2 * before[2] and page.text("#panel h2") == "Overview"


def test_keyboard_alone_is_enough(show) -> None:
    page = show(network())
    page.driver.execute_script("document.getElementById('canvas').focus()")
    start = page.view()
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert page.view()[:2] == pytest.approx((start[0] - 60, start[1] - 60))
    page.keys("+")
    assert page.view()[2] > start[2]
    page.keys("0")
    page.keys(Keys.TAB)
    focused = "return document.activeElement.getAttribute('aria-label')"
    assert page.driver.execute_script(focused).startswith("image, Input, b × 1f × 22y × 22x, input")
    page.choose("layout", "layers")
    page.driver.execute_script("document.querySelector('.node[tabindex=\"0\"]').focus()")
    page.keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert page.driver.execute_script(focused).startswith("second, Conv")
    page.keys(Keys.ENTER)
    assert page.text("#panel h2") == "second" and page.node("second").get_attribute("aria-pressed") == "true"
    page.keys(Keys.ARROW_UP, Keys.SPACE)
    assert page.text("#panel h2") == "first"
    page.keys(Keys.ESCAPE)
    assert page.text("#panel h2") == "Overview"


def test_everything_has_a_name_for_screen_readers(show) -> None:
    page = show(network())
    assert all(box.get_attribute("aria-label") for box in page.all(".node"))
    assert page.count(".node[tabindex='0']") == 1
    for control in page.all("input, select, button"):
        assert control.accessible_name.strip()
    assert page.one("#canvas").accessible_name == "Graph of nodes"
    assert page.one("html").get_attribute("lang") == "en"


def test_colours_and_their_legend(show) -> None:
    page = show(network(), colour="parameters")
    fill = "return getComputedStyle(arguments[0].querySelector('.box')).fill"
    seen = set()
    for mode in ("parameters", "kind", "class", "cost", "fov"):
        page.choose("colour", mode)
        seen.add((page.driver.execute_script(fill, page.node("second")), page.text("#legend")))
    assert len(seen) == 5
    assert page.text("#legend").endswith("12 × 12") and page.text("#legend").startswith("none1 × 1")


def test_light_and_dark(show, browser) -> None:
    page = show(network())
    paper = "return getComputedStyle(document.body).backgroundColor"
    with media(browser, prefers_color_scheme="light"):
        light = page.driver.execute_script(paper)
    with media(browser, prefers_color_scheme="dark"):
        dark = page.driver.execute_script(paper)
    brightness = [sum(int(n) for n in re.findall(r"\d+", c)[:3]) for c in (light, dark)]
    assert brightness[0] > 600 and brightness[1] < 120


def test_arrangements_and_shapes_at_arrows(show) -> None:
    page = show(u_net())
    assert page.one("#layout").get_attribute("value") in ("layers", "scales")
    page.choose("layout", "scales")
    assert page.count("#groups rect") == 5 and "stride 4 × 4" in page.text("#groups")
    before = page.one("#edges path:last-child").get_attribute("d")
    page.choose("layout", "layers")
    assert page.count("#groups rect") == 0 and page.one("#edges path:last-child").get_attribute("d") != before
    assert not page.one("#labels text").is_displayed()
    page.one("#shapes").click()
    assert page.one("#labels text").is_displayed() and page.text("#labels text") == "1b × 1f × 46y × 46x"


def test_recurrences(show) -> None:
    page = show(recurrence())
    assert page.count("#edges path.memory") == 1 and page.text("#labels text.memory") == "next step"
    assert not page.one("#arrangement").is_displayed()
    page.click("start")
    assert "cell" not in page.names(".node.up") and "cell" in page.names(".node.down")


def test_hostile_names_are_inert(show) -> None:
    model = hostile()
    page = show(model)
    assert (
        page.driver.title.startswith("model </script><script>document.title='owned'") and page.count("#canvas img") == 0
    )
    assert page.count("script") == 2 and page.count("img, b[onmouseover]") == 0
    assert page.text("#title") == f"model {escape(HOSTILE)}"
    titles = page.driver.execute_script(
        "return [...document.querySelectorAll('.node title')].map(t => t.textContent.toWellFormed())"
    )
    assert titles[0] == f"{escape(HOSTILE)} (Input)" and titles[1] == '"]; n0 -> n1 [label=" (Perceptron)'
    for index in range(3):
        page.driver.execute_script("document.querySelectorAll('.node')[arguments[0]].focus()", index)
        page.keys(Keys.ENTER)
        assert page.text("#panel h2") in titles[index]
    assert "<b onmouseover" in page.text("#panel") and page.count("#panel b[onmouseover]") == 0
    assert "owned" != page.driver.title


def test_the_network_is_forbidden(show, browser) -> None:
    page = show(network())
    script = """
        const done = arguments[0], blocked = [];
        document.addEventListener("securitypolicyviolation", (e) => blocked.push(e.effectiveDirective));
        const image = new Image();
        image.src = "http://127.0.0.1:9/x.png";
        const code = document.createElement("script");
        code.textContent = "document.title = 'owned'";
        document.body.append(image, code);
        fetch("http://127.0.0.1:9/").then(() => done("came through"), () => setTimeout(() => done(blocked), 50));
    """
    blocked = page.driver.execute_async_script(script)
    assert set(blocked) == {"connect-src", "img-src", "script-src-elem"} and page.driver.title != "owned"
    assert all("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))
    browser.get_log("performance")  # blocked attempts are recorded as requests


def test_the_frame_of_a_notebook(browser, tmp_path) -> None:
    path = tmp_path / "notebook.html"
    path.write_text(f"<!DOCTYPE html><title>n</title>{network().plot()._repr_html_()}", encoding="utf-8")
    browser.get_log("browser")
    browser.get(path.as_uri())
    browser.switch_to.frame(0)
    assert len(browser.find_elements(By.CSS_SELECTOR, ".node")) == 9
    browser.switch_to.default_content()
    assert browser.get_log("browser") == []


def test_large_graphs_stay_fluid(show) -> None:
    page = show(long_chain(300))
    assert page.count(".node") == 301
    start = time.perf_counter()
    script = """
        const done = arguments[1], canvas = arguments[0];
        let n = 0;
        (function step() {
          if (n++ === 30) return done();
          canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: n % 2 ? -90 : 80, clientX: 400, clientY: 400 }));
          requestAnimationFrame(step);
        })();
    """
    page.driver.execute_async_script(script, page.one("#canvas"))
    assert time.perf_counter() - start < 6  # 30 frames; generous, for busy machines


def test_small_windows(show, browser) -> None:
    browser.set_window_size(520, 800)
    try:
        page = show(network())
        assert page.one("#panel").rect["y"] > page.one("#canvas").rect["y"]
        assert page.driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        browser.set_window_size(1300, 850)
